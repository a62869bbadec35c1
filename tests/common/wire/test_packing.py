"""What safetensors can say and a message of ours may not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.foundation.errors import WireError
from normfed_common.wire import packing


def record(content: bytes) -> ArrayRecord:
    return ArrayRecord({packing.NAME: Array("uint8", (len(content),), packing.STYPE, content)})


def of_type(kind: str, count: int, size: int) -> ArrayRecord:
    """A file of safetensors that holds one array, written by hand."""
    header = json.dumps({"w": {"dtype": kind, "shape": [count], "data_offsets": [0, size]}}).encode()
    return record(len(header).to_bytes(8, "little") + header + bytes(size))


def test_arrays_in_another_order_of_memory_are_packed_by_their_values() -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(packing.unpack(packing.pack({"w": turned}), False)["w"], turned)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F7"])
def test_types_that_numpy_lacks_are_refused(kind: str) -> None:
    size = {"BF16": 4, "F4": 1}.get(kind, 2)
    assert packing.unpack(of_type("F16", 2, 4), False)["w"].tolist() == [0, 0]  # written by hand as it should be
    with pytest.raises(WireError, match="cannot be read"):
        packing.unpack(of_type(kind, 2, size), False)


@pytest.mark.parametrize("consume", [False, True])
def test_only_what_is_consumed_is_taken_out(consume: bool) -> None:
    sent = packing.pack({"w": np.ones(3)})
    packing.unpack(sent, consume)
    assert (packing.NAME in sent) is not consume


def test_what_is_not_consumed_may_be_written_to_and_read_again() -> None:
    sent = packing.pack({"w": np.ones(3)})
    packing.unpack(sent, False)["w"][:] = 7
    assert packing.unpack(sent, False)["w"].tolist() == [1, 1, 1]


@given(st.data())
def test_changed_bytes_are_refused_or_read_as_other_arrays(data: st.DataObject) -> None:
    content = bytearray(packing.pack({"w": np.arange(3.0), "b": np.zeros((2, 2), np.int8)})[packing.NAME].data)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = packing.unpack(record(bytes(content)), False)
    except WireError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)


def test_a_record_is_packed_by_its_name_and_by_what_it_says_of_itself() -> None:
    honest = packing.pack({})
    assert packing.is_packed(honest)
    assert not packing.is_packed(ArrayRecord({packing.NAME: Array(np.zeros(2, np.uint8))}))
    assert not packing.is_packed(ArrayRecord({"w": honest[packing.NAME]}))
    assert not packing.is_packed(ArrayRecord({packing.NAME: honest[packing.NAME], "w": Array(np.zeros(2))}))
    assert not packing.is_packed(ArrayRecord())


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=10).filter(lambda name: name != "__metadata__"),
        st.one_of(
            *(
                hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4), elements=st.integers(0, 100))
                for kind in (np.float32, np.float64, np.int64, np.float16, np.uint16, np.int8)
            )
        ),
        max_size=5,
    )
)
def test_packed_arrays_come_back_as_they_were(arrays: dict[str, np.ndarray]) -> None:
    for consume in (False, True):
        back = packing.unpack(packing.pack(arrays), consume)
        assert set(back) == set(arrays)
        for name, array in arrays.items():
            assert back[name].dtype == array.dtype
            assert back[name].shape == array.shape
            np.testing.assert_array_equal(back[name], array)
