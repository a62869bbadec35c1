"""The reader of Flower's arrays, against NumPy's own."""

from __future__ import annotations

import interleaved
import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.wire import npy

TYPES = [np.float32, np.float64, np.int64, np.float16, np.uint16, np.int8]
ARRAYS = hnp.arrays(st.sampled_from(TYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))


@given(ARRAYS)
def test_it_reads_what_numpy_reads(values: np.ndarray) -> None:
    array = Array(values)
    found, expected = npy.read(array), array.numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_values_in_another_order_of_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="not the bytes of an array"):
        npy.read(Array(np.asfortranarray(np.zeros((2, 3)))))


def test_what_it_reads_may_be_written_to() -> None:
    array = Array(np.zeros(3))
    npy.read(array)[:] = 1
    np.testing.assert_array_equal(npy.read(array), np.zeros(3))


@given(ARRAYS, st.data())
def test_changed_bytes_are_refused_or_change_values_only(values: np.ndarray, data: st.DataObject) -> None:
    honest = Array(values)
    content = bytearray(honest.data)
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = npy.read(Array(honest.dtype, honest.shape, honest.stype, bytes(content)))
    except ValueError:
        return
    assert (found.dtype, found.shape) == (values.dtype, values.shape)


@pytest.mark.parametrize("shape", [(4,), (2,), (3, 1), (), (-3,), (-1, -3), (0, 2**62, 2**62)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    honest = Array(np.zeros(3))
    for content in (honest.data, honest.data.replace(b"(3,)", str(shape).encode())):
        with pytest.raises(ValueError, match=r"shape|dimension"):
            npy.read(Array("float64", shape, honest.stype, content))


def test_dimensions_without_end_are_refused_in_a_word() -> None:
    with pytest.raises(ValueError, match=r"^an array of 1,000,000 dimensions$"):
        npy.read(Array("float64", (1,) * 1_000_000, "numpy.ndarray", Array(np.zeros(1)).data))


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16"])
def test_another_type_is_refused(dtype: str) -> None:
    honest = Array(np.zeros(3))
    with pytest.raises(ValueError, match=dtype):
        npy.read(Array(dtype, (3,), honest.stype, honest.data))


@pytest.mark.parametrize("length", [0, 5, 9, 60, 128, 151])
def test_a_part_is_refused(length: int) -> None:
    honest = Array(np.zeros(3))
    with pytest.raises(ValueError, match="not"):
        npy.read(Array("float64", (3,), honest.stype, honest.data[:length]))


def test_threads_read_at_once() -> None:
    """`numpy.load` fails here, on Python 3.11.7 almost always."""
    array = Array(np.zeros((3, 4), np.float32))
    assert not interleaved.failures(lambda: npy.read(array), 2000)
