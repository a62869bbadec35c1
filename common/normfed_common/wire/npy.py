"""The arrays of a Flower record as NumPy's, read without evaluating a header.

Flower writes an array as a ``.npy`` file. ``numpy.load`` reads the header of such a file as a Python literal, with
`ast`; in Python 3.11 two threads that do so at once can fail with "SystemError: AST constructor recursion depth
mismatch" (github.com/python/cpython/issues/106905), and a server reads the answers of several arms at once. A record
states type and shape beside the bytes, so that nothing needs to be parsed: the header must be the very bytes that
``numpy.save`` writes for them, its padding too, so that nothing else has room in it.
"""

from __future__ import annotations

import io

import numpy as np
from flwr.app import Array

MAGIC = b"\x93NUMPY\x01\x00"  # format version 1.0: a header of up to 64 KiB
MOST_DIMENSIONS = 64  # NumPy's own limit
START = len(MAGIC) + 2  # after the header's length, two bytes


def read(array: Array) -> np.ndarray:
    """The values of an array of a record, of a type that the caller allows; a copy.

    Raises
    ------
    ValueError
        If the bytes are not those of an array of the type and shape that the record states.
    """
    if len(array.shape) > MOST_DIMENSIONS:
        raise ValueError(f"an array of {len(array.shape):,} dimensions")
    dtype, shape, content = np.dtype(array.dtype), tuple(array.shape), array.data
    end = START + int.from_bytes(content[len(MAGIC) : START], "little")
    if content[:end] != _header(dtype, shape):
        raise ValueError(f"not the bytes of an array of {dtype} and shape {shape}")
    if len(content) - end != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise ValueError(f"{len(content):,} bytes are not an array of {dtype} and shape {shape}")
    values: np.ndarray = np.frombuffer(content, dtype, offset=end).copy()
    return values.reshape(shape)


def _header(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    """What `numpy.save` writes before the values, in the order of C: another would be one more thing to say."""
    made = io.BytesIO()
    said = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(made, said)
    return made.getvalue()
