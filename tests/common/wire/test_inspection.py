"""There is one way to write given arrays: what is seen of a message is all that there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.foundation.errors import WireError
from normfed_common.wire import packing
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.inspection import LENGTH, TYPES, inspected
from normfed_common.wire.messages import encode

HEADER = Answer(site="north", subjects=5, payload=Trained(steps=1, loss=0.5))
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,8}", fullmatch=True)
ARRAYS = hnp.arrays(
    st.sampled_from(sorted(TYPES.values())), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
)
TWO = {"b": np.arange(3, dtype=np.float32), "a": np.zeros((2, 2), np.int8)}


def message(record: RecordDict) -> Message:
    return Message(content=record, metadata=Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, "train.round"))  # type: ignore[call-overload]


def rewritten(change: Callable[[dict[str, Any]], object] = bool, behind: bytes = b"", spare: str = "") -> Message:
    """Two arrays that are packed, with another header, or more behind them."""
    record = encode(HEADER, TWO, packed=True)
    content = record.array_records["arrays"][packing.NAME].data
    end = LENGTH + int.from_bytes(content[:LENGTH], "little")
    entries = json.loads(content[LENGTH:end])
    found = change(entries)
    text = json.dumps(found if isinstance(found, dict) else entries, separators=(",", ":"))
    text = text + " " * (-len(text) % 8) + spare
    made = len(text).to_bytes(LENGTH, "little") + text.encode() + content[end:] + behind
    record["arrays"] = ArrayRecord({packing.NAME: Array("uint8", (len(made),), packing.STYPE, made)})
    return message(record)


@given(st.dictionaries(NAMES, ARRAYS, max_size=5), st.booleans())
def test_it_sees_what_was_written(arrays: dict[str, np.ndarray], packed: bool) -> None:
    header, seen = inspected(message(encode(HEADER, arrays, packed)))
    assert header == HEADER
    assert set(seen) == set(arrays)
    for name, array in arrays.items():
        assert (seen[name].dtype, seen[name].shape, seen[name].bytes) == (str(array.dtype), array.shape, array.nbytes)
        np.testing.assert_array_equal(seen[name].values(), array)


def test_rewriting_nothing_is_let_through() -> None:
    assert set(inspected(rewritten())[1]) == {"a", "b"}


def in_order(*names: str) -> Callable[[dict[str, Any]], object]:
    return lambda entries: {name: entries[name] for name in names}


REFUSED = {
    "order": rewritten(in_order("a", "b")),
    "keys": rewritten(lambda e: {name: dict(reversed(one.items())) for name, one in e.items()}),
    "places": rewritten(lambda e: e.update(a=e["a"] | {"data_offsets": [0, 4]}, b=e["b"] | {"data_offsets": [4, 16]})),
    "gap": rewritten(lambda e: e["a"].update(data_offsets=[8, 12])),
    "larger": rewritten(lambda e: e["a"].update(shape=[2, 2, 1, 2])),
    "negative": rewritten(lambda e: e["a"].update(shape=[-2, -2])),
    "another key": rewritten(lambda e: e["a"].update(more="x")),
    "type": rewritten(lambda e: e["a"].update(dtype="BOOL")),
    "metadata": rewritten(lambda e: e.update(__metadata__={"x": "y"})),
    "bytes behind": rewritten(behind=b"x"),
    "room": rewritten(spare=" " * 8),
    "lines": rewritten(spare="\n" * 8),
}


@pytest.mark.parametrize("way", REFUSED)
def test_another_spelling_of_the_same_arrays_is_refused(way: str) -> None:
    with pytest.raises(WireError, match="packed arrays"):
        inspected(REFUSED[way])


def test_another_shape_is_another_array_and_is_seen() -> None:
    assert inspected(rewritten(lambda e: e["a"].update(shape=[4])))[1]["a"].shape == (4,)


def test_values_in_another_order_of_memory_are_refused() -> None:
    record = encode(HEADER, {})
    record["arrays"] = ArrayRecord({"a": Array(np.asfortranarray(np.zeros((2, 3))))})
    with pytest.raises(WireError, match="'a' is not what its record says"):
        inspected(message(record))
