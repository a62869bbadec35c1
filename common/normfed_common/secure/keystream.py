"""Uniform integers from a key: the keystream of ChaCha20 (RFC 8439), the pseudo-random generator of all masks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

Bits = Literal[32, 64]
TYPES: dict[Bits, np.dtype[Any]] = {32: np.dtype("<u4"), 64: np.dtype("<u8")}
PIECE = 2**18  # bytes at a time: what is added up stays in the processor's cache
LONGEST = 2**38  # bytes of one key: beyond, ChaCha20's counter of 32 bits begins again


def keystream(key: bytes, count: int, bits: Bits) -> np.ndarray:
    """Integers of so many bits, shape (count,).

    Parameters
    ----------
    key
        Of 32 bytes, for one stream: the nonce is zero.
    """
    found = np.zeros(count, TYPES[bits])
    add(found, key)
    return found


def add(total: np.ndarray, key: bytes, sign: int = 1) -> None:
    """Add a key's stream to ``total``, unsigned integers of shape (n,), in place and modulo their size.

    Parameters
    ----------
    sign
        1, or -1 to take it away.

    Raises
    ------
    ValueError
        If ``total`` is longer than a key's stream.
    """
    if total.nbytes > LONGEST:
        raise ValueError(f"{total.nbytes:,} bytes are more than one key masks")
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    count = PIECE // total.itemsize
    zeros, piece = bytes(PIECE), np.empty(count, total.dtype)
    combine = np.add if sign > 0 else np.subtract
    for start in range(0, total.size, count):
        part = total[start : start + count]
        stream.update_into(zeros, piece.data.cast("B"))
        combine(part, piece[: part.size], out=part)
