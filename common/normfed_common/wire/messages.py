"""The door to Flower's records: requests to sites and their answers, in and out.

Whatever is decoded was checked: known fields only, arrays of known types, finite, within a size limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from pydantic import ValidationError

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import ProtocolError, SiteCode, WireError
from normfed_common.foundation.versions import PROTOCOL
from normfed_common.wire import npy, packing
from normfed_common.wire.answers import Answer
from normfed_common.wire.content import content_digest, rows
from normfed_common.wire.counter import Counter
from normfed_common.wire.head import Heads
from normfed_common.wire.requests import Request

MAXIMUM_BYTES = 2**31 - 2**20  # protobuf's limit, less room for the headers
MAXIMUM_HEADER = 4_000_000
MAXIMUM_ARRAYS = 20_000
FENCE = "query.fence"  # a message without content: its answer says that what was sent before it is settled
COMPRESSED, MASKED = ("float16", "uint16", "int8"), ("uint32", "uint64")
ALLOWED_TYPES = ("float32", "float64", "int64", *COMPRESSED, *MASKED)
ARRAY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,249}")

Header = TypeVar("Header", Request, Answer)


def encode(header: Request | Answer, arrays: Arrays, packed: bool = False) -> RecordDict:
    """Header and arrays as Flower records; ``packed`` for the way over a network."""
    record = RecordDict({"header": ConfigRecord({"json": header.model_dump_json()})})
    record["arrays"] = packing.pack(arrays) if packed else to_record(arrays)
    return record


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Our arrays as Flower's."""
    return ArrayRecord({name: Array(np.asarray(array, order="C")) for name, array in arrays.items()})


def decode_request(message: Message) -> tuple[Request, Arrays]:
    """Read a request.

    Raises
    ------
    WireError
        If it breaks the protocol.
    """
    return header_of(message, Request), _arrays(message.content)


def decode_answer(message: Message, consume: bool = False) -> tuple[Answer, Arrays]:
    """Read an answer.

    Parameters
    ----------
    consume
        Take the arrays out of the message one by one, so that they are never in memory twice.

    Raises
    ------
    WireError
        If it breaks the protocol.
    """
    return header_of(message, Answer), _arrays(message.content, consume)


def requests(nodes: Mapping[str, int], header: Request, arrays: Arrays) -> dict[str, Message]:
    """The same message to several sites; they share one record, so that memory does not grow with the sites."""
    record = encode(header, arrays)
    return {
        site: Message(record, dst_node_id=node, message_type=header.task, group_id="0") for site, node in nodes.items()
    }


def request(node: int, header: Request, arrays: ArrayRecord) -> Message:
    """A message to one site; ``arrays`` may be shared with other messages."""
    record = RecordDict({"header": ConfigRecord({"json": header.model_dump_json()}), "arrays": arrays})
    return Message(record, dst_node_id=node, message_type=header.task, group_id=str(header.round))


def stamped(message: Message, ledger: Counter | None = None, heads: Heads | None = None) -> Message:
    """The same request with the counter of the site's ledger and the heads of the two chains; it shares the arrays."""
    said = header_of(message, Request)
    header = said.model_copy(update={"ledger": ledger or said.ledger, "heads": heads or said.heads})
    record = RecordDict(
        {"header": ConfigRecord({"json": header.model_dump_json()}), "arrays": _record(message.content)}
    )
    metadata = message.metadata
    return Message(record, metadata.dst_node_id, metadata.message_type, group_id=metadata.group_id)


def ledger_of(message: Message) -> Counter | None:
    """The counter that came with an answer; None where there is none, or nothing that can be read."""
    if not message.has_content():
        return None
    try:
        return header_of(message, Answer).ledger
    except WireError:
        return None


def content_of(message: Message) -> tuple[Answer, str]:
    """The header of an answer, and its digest (see `normfed_common.wire.content`); the message keeps its arrays.

    Raises
    ------
    WireError
        If it breaks the protocol.
    """
    header = header_of(message, Answer)
    text = str(message.content.config_records["header"]["json"])
    return header, content_digest(text, rows(_arrays(message.content)))


def asked(message: Message) -> Request:
    """What a request of ours asks for, without its arrays."""
    return header_of(message, Request)


def size_of(message: Message) -> int:
    """Bytes of the arrays of a message; 0 of an error."""
    if message.has_error():
        return 0
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def answer(to: Message, header: Answer, arrays: Arrays) -> Message:
    """The answer to a request, packed where the request was."""
    return Message(encode(header, arrays, packing.is_packed(_record(to.content))), reply_to=to)


def restated(to: Message, reply: Message, header: Answer) -> Message:
    """The same answer with another header; it shares the arrays."""
    record = RecordDict({"header": ConfigRecord({"json": header.model_dump_json()}), "arrays": _record(reply.content)})
    return Message(record, reply_to=to)


def packed(message: Message, arrays: ArrayRecord | None = None) -> RecordDict:
    """The content of a message with its arrays packed; ``arrays`` if they were packed before."""
    if arrays is None:
        arrays = packing.pack({name: npy.read(array) for name, array in _record(message.content).items()})
    return RecordDict({"header": message.content.config_records["header"], "arrays": arrays})


def refusal(to: Message, code: SiteCode) -> Message:
    """The only form in which an error leaves a site: its code and the code's public sentence."""
    return Message(Error(int(code), code.sentence), reply_to=to)


def error_code(message: Message) -> SiteCode:
    """The code of a refusal, or of a newer version's; anything that is not one of ours is an internal error."""
    try:
        return SiteCode(message.error.code)
    except ValueError:
        return SiteCode.INTERNAL


def header_of(message: Message, kind: type[Header]) -> Header:
    """The header of a message, without its arrays.

    Raises
    ------
    WireError
        If it breaks the protocol.
    """
    record = message.content
    if set(record) != {"header", "arrays"} or set(record.config_records.get("header", {})) != {"json"}:
        raise WireError(f"a message holds {len(record)} records; expected arrays and header")
    text = record.config_records["header"]["json"]
    if not isinstance(text, str) or len(text) > MAXIMUM_HEADER:
        raise WireError("a message's header is not text of a sensible length")
    try:
        header = kind.model_validate_json(text)
    except ValidationError as error:
        if other := _other_protocol(text):
            raise ProtocolError(f"the message is of protocol {other}, and {PROTOCOL} is spoken here") from error
        first = error.errors(include_url=False, include_input=False)[0]
        # pydantic's sentence on a task that there is not repeats what was said.
        why = "there is no such task" if first["type"] == "union_tag_invalid" else first["msg"]
        raise WireError(f"a message's header is wrong at {first['loc']}: {why}") from error
    if header.task != message.metadata.message_type:
        raise WireError(f"a message's header is of {header.task}, the message of another task")
    return header


def _other_protocol(header: str) -> int | None:
    """The protocol that a header which cannot be read says it is of; None if it is this one, or says none."""
    try:
        said = json.loads(header)
    except (ValueError, RecursionError):
        return None
    found = said.get("protocol") if isinstance(said, dict) else None
    return found if type(found) is int and found != PROTOCOL else None


def _arrays(record: RecordDict, consume: bool = False) -> Arrays:
    found = _record(record)
    size = sum(len(array.data) for array in found.values())
    if size > MAXIMUM_BYTES:
        raise WireError(f"a message holds {size:,} bytes of arrays; at most {MAXIMUM_BYTES:,} are allowed")
    if packing.is_packed(found):
        unpacked = packing.unpack(found, consume)
        _check_names(unpacked)
        return {name: _allowed(name, value) for name, value in unpacked.items()}
    _check_names(found)
    arrays: Arrays = {}
    for name in list(found):
        array = found.pop(name) if consume else found[name]
        if array.stype != "numpy.ndarray" or array.dtype not in ALLOWED_TYPES:
            raise WireError(
                f"array {name!r} is {array.stype[:20]!r} of {array.dtype[:20]!r}; allowed: {', '.join(ALLOWED_TYPES)}"
            )
        try:
            value = npy.read(array)
        except ValueError as error:
            raise WireError(f"array {name!r} is not what its record says") from error
        arrays[name] = _allowed(name, value)
    return arrays


def _check_names(names: Collection[str]) -> None:
    if len(names) > MAXIMUM_ARRAYS:
        raise WireError(f"a message holds {len(names):,} arrays; at most {MAXIMUM_ARRAYS:,} are allowed")
    for name in names:
        if not ARRAY_NAME.fullmatch(name):
            raise WireError(f"an array's name is not one: {name[:80]!r}")


def _record(record: RecordDict) -> ArrayRecord:
    found: ArrayRecord = record.array_records.get("arrays", ArrayRecord())
    return found


def _allowed(name: str, value: np.ndarray) -> np.ndarray:
    if str(value.dtype) not in ALLOWED_TYPES:
        raise WireError(f"array {name!r} is of {value.dtype}; allowed: {', '.join(ALLOWED_TYPES)}")
    if not np.isfinite(value).all():
        raise WireError(f"array {name!r} is not finite")
    return value
