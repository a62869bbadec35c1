"""What a message's arrays are, read off their headers: names, types, shapes; values only where they are asked for.

Whatever a record holds beside that is refused: bytes before, between or behind the arrays, metadata, another spelling
of the header than needed. So what is seen is all that there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Array, Message

from normfed_common.foundation.errors import WireError
from normfed_common.wire import npy, packing
from normfed_common.wire.answers import Answer
from normfed_common.wire.messages import header_of

LENGTH = 8  # bytes that say how long a packed header is
PADDED_TO = 8
TYPES = {  # as safetensors calls them
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "F16": "float16",
    "U16": "uint16",
    "I8": "int8",
    "U32": "uint32",
    "U64": "uint64",
}


@dataclass(frozen=True)
class Seen:
    """One array of a message.

    Parameters
    ----------
    values
        Reads it.
    """

    dtype: str
    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        """Of its values."""
        return int(np.prod(self.shape, dtype=object)) * np.dtype(self.dtype).itemsize


def inspected(message: Message) -> tuple[Answer, dict[str, Seen]]:
    """The header of an answer, and its arrays.

    Raises
    ------
    WireError
        If there is anything else in it, or the header is spelt otherwise than this version spells it.
    """
    answer, record = header_of(message, Answer), message.content
    if set(record.array_records) != {"arrays"} or set(record.config_records) != {"header"}:
        raise WireError("a message's arrays and header are records of other kinds")
    if record.config_records["header"]["json"] != answer.model_dump_json():
        raise WireError("a message's header is spelt in another way than this version spells it")
    arrays = record.array_records["arrays"]
    if packing.is_packed(arrays):
        return answer, _packed(arrays[packing.NAME])
    return answer, {name: _plain(name, array) for name, array in arrays.items()}


def _packed(array: Array) -> dict[str, Seen]:
    content = array.data
    end = LENGTH + int.from_bytes(content[:LENGTH], "little")
    if array.dtype != "uint8" or tuple(array.shape) != (len(content),) or not LENGTH < end <= len(content):
        raise WireError("packed arrays are not what their record says")
    try:
        text = content[LENGTH:end].decode()
        entries = json.loads(text)
        found = {name: _entry(content, end, entry) for name, entry in entries.items()}
        needed = len(json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode())
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WireError("packed arrays have no header that can be read") from error
    spare = end - LENGTH - needed
    if not 0 <= spare < PADDED_TO or text[len(text) - spare :].strip(" "):
        raise WireError("packed arrays have a longer header than they need")
    place = 0
    for start, stop, size in sorted((*entry["data_offsets"], one.bytes) for entry, one in _pairs(entries, found)):
        if start != place or stop - start != size:
            raise WireError("packed arrays overlap, or leave room between them")
        place = stop
    if place != len(content) - end:
        raise WireError("packed arrays have bytes behind them")
    return found


def _pairs(entries: dict[str, Any], found: dict[str, Seen]) -> list[tuple[dict[str, Any], Seen]]:
    return [(entries[name], one) for name, one in found.items()]


def _entry(content: bytes, end: int, entry: dict[str, Any]) -> Seen:
    if set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError("an entry has other keys")
    start, stop = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise ValueError("an entry has lengths that are none")
    dtype = TYPES[entry["dtype"]]
    return Seen(dtype, shape, partial(_values, content, end + start, end + stop, dtype, shape))


def _values(content: bytes, start: int, stop: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(memoryview(content)[start:stop], dtype).reshape(shape)


def _plain(name: str, array: Array) -> Seen:
    try:
        if array.stype != "numpy.ndarray" or array.dtype not in TYPES.values():
            raise ValueError(f"{array.stype[:20]!r} of {array.dtype[:20]!r}")
        values = npy.read(array)
    except ValueError as error:
        raise WireError(f"array {name!r} is not what its record says") from error
    return Seen(array.dtype, values.shape, lambda: values)
