"""What a message's arrays are, read off their headers: names, types, shapes; values only where they are asked for.

Whatever a record holds beside that is refused: bytes before, between or behind the arrays, metadata, another spelling
of the header than needed. So what is seen is all that there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
TYPES = {  # as safetensors calls them, in the order in which it writes them, those of one type by name
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "F32": "float32",
    "U32": "uint32",
    "F16": "float16",
    "U16": "uint16",
    "I8": "int8",
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
    """See `inspected`; there is one way to write the header of given arrays, that of safetensors itself."""
    content = array.data
    end = LENGTH + int.from_bytes(content[:LENGTH], "little")
    if array.dtype != "uint8" or tuple(array.shape) != (len(content),) or not LENGTH < end <= len(content):
        raise WireError("packed arrays are not what their record says")
    try:
        text = content[LENGTH:end].decode()
        entries = {name: _entry(entry) for name, entry in json.loads(text).items()}
        only, stop = _only_header(entries)
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WireError("packed arrays have no header that can be read") from error
    if text != only or stop != len(content) - end:
        raise WireError("packed arrays are spelt in another way than this version spells them, or have more with them")
    return {name: Seen(one.dtype, one.shape, partial(_values, content, end, one)) for name, one in entries.items()}


@dataclass(frozen=True)
class _Entry:
    """What a packed header says of an array, its place after the header included."""

    kind: str
    shape: tuple[int, ...]
    start: int

    @property
    def dtype(self) -> str:
        return TYPES[self.kind]

    @property
    def stop(self) -> int:
        return self.start + int(np.prod(self.shape, dtype=object)) * np.dtype(self.dtype).itemsize


def _entry(said: dict[str, Any]) -> _Entry:
    shape, (start, _) = tuple(said["shape"]), said["data_offsets"]
    if said["dtype"] not in TYPES or len(shape) > npy.MOST_DIMENSIONS:
        raise ValueError("an entry of an unknown type, or of too many dimensions")
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, start)):
        raise ValueError("an entry with lengths that are none")
    return _Entry(said["dtype"], shape, start)


def _only_header(entries: Mapping[str, _Entry]) -> tuple[str, int]:
    """What safetensors writes before these arrays, one behind another, and where they end."""
    order, place, made = list(TYPES), 0, {}
    for name, one in sorted(entries.items(), key=lambda pair: (order.index(pair[1].kind), pair[0])):
        stop = place + one.stop - one.start
        made[name] = {"dtype": one.kind, "shape": one.shape, "data_offsets": [place, stop]}
        place = stop
    text = json.dumps(made, separators=(",", ":"), ensure_ascii=False)
    return text + " " * (-len(text.encode()) % PADDED_TO), place


def _values(content: bytes, end: int, one: _Entry) -> np.ndarray:
    return np.frombuffer(memoryview(content)[end + one.start : end + one.stop], one.dtype).reshape(one.shape)


def _plain(name: str, array: Array) -> Seen:
    try:
        if array.stype != "numpy.ndarray" or array.dtype not in TYPES.values():
            raise ValueError(f"{array.stype[:20]!r} of {array.dtype[:20]!r}")
        values = npy.read(array)
    except ValueError as error:
        raise WireError(f"array {name!r} is not what its record says") from error
    return Seen(array.dtype, values.shape, lambda: values)
