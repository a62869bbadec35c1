"""Requests to sites and their answers, as our dataclasses; and the door to Flower's records.

Whatever is decoded was checked: known fields only, arrays of known types, finite, within a size limit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from pydantic import Field, StringConstraints, ValidationError

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, WireError
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_common.study.federation import PLAIN, Compression
from normfed_common.study.plugins import Plugins
from normfed_common.wire import npy, packing

MAXIMUM_BYTES = 2**31 - 2**20  # protobuf's limit, less room for the headers
MAXIMUM_HEADER = 4_000_000
MAXIMUM_STUDY = 1_000_000  # as large as a study file may be
MAXIMUM_ARRAYS = 20_000
MOST_PEOPLE = 10_000_000  # that anybody can claim
MOST_ROUNDS = 999_999  # sites number files by it, with six digits
FENCE = "query.fence"  # a message without content: its answer says that what was sent before it is settled
CONTROL = "control/"  # before the names of SCAFFOLD's control variate, which goes out beside the model
BELOW_MINIMUM = -1  # in the place of a count: somebody, but fewer than the minimum cohort
ALLOWED_TYPES = ("float32", "float64", "int64", "float16", "uint16", "int8")  # the last three only compressed
# Whatever becomes the name of a file or folder, a label or a size has a pattern and a bound.
RunName = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,119})?$")]
ArmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._#+~-]{0,149}$")]
StageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,60}$")]
VersionText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+_-]{0,50}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,99}$")]
Note = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,300}$")]
CountName = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,30}$")]
Count = Annotated[int, Field(ge=BELOW_MINIMUM, le=MOST_PEOPLE)]
MachineText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 .,:()/+_-]{0,100}$")]
ARRAY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,249}")

Task = Literal[
    "query.describe",
    "train.canary",
    "train.round",
    "train.personal",
    "train.sums",
    "evaluate.score",
    "evaluate.count",
    "evaluate.measure",
]


class Request(Frozen):
    """What the server asks of a site, beside arrays.

    Parameters
    ----------
    study
        The resolved study as JSON.
    run
        The run's name: what a site keeps of one run is apart from what it keeps of others.
    version
        Of normfed at the server: a site with another refuses.
    plugins
        That the study uses at the server, name to version: the same holds for each.
    arm
        Which of the study's models this is about (federated, local-NAME, pooled, or a baseline's name).
    model
        The model's entry of the study.
    strategy
        The strategy's entry of the study, for this arm.
    compression
        Of the model in ``train.round`` and of the update that answers it.
    round
        From 1; 0 outside rounds.
    repeat
        Which training of the same model this is: 0 for the first; the order of batches depends on it.
    since
        The last round in which the server used an update of this very site; 0 for none. What a site keeps of a round
        that was not used (SCAFFOLD's control variate) does not count.
    stage
        Of ``train.sums``: which sums.
    detail
        Of evaluation: "full", or "ranking" for voxel metrics only.
    maps
        Of evaluation: whether the site writes anomaly maps into its own folder.
    low, high, threshold
        Of evaluation: range of all sites' scores, and the abnormality threshold.
    """

    study: str = Field(max_length=MAXIMUM_STUDY)
    run: RunName = ""
    version: VersionText = ""
    plugins: Plugins = Field(default_factory=dict)
    arm: ArmName
    model: dict[str, Any]
    strategy: dict[str, Any] = Field(default_factory=lambda: dict(PLAIN))
    compression: Compression = "none"
    round: int = Field(0, ge=0, le=MOST_ROUNDS)
    repeat: int = Field(0, ge=0, le=100)
    since: int = Field(0, ge=0, le=MOST_ROUNDS)
    stage: StageName = ""
    detail: Literal["full", "ranking"] = "full"
    low: float = 0.0
    high: float = 0.0
    threshold: float | None = None
    maps: bool = False


class Machine(Frozen):
    """What an operator needs to know of the machine that a site's client runs on, in round figures.

    Parameters
    ----------
    study
        Digest of the study as this site resolves it.
    memory_gb, disk_gb
        Free now; of the disk that holds the site's state.
    gpu
        Its name; empty without one.
    power_w
        What the hospital says that it draws while it trains.
    """

    normfed: VersionText
    flwr: VersionText
    torch: VersionText
    python: VersionText
    study: MachineText
    cores: int = Field(ge=0, le=100_000)
    memory_gb: float = Field(ge=0, le=1e9)
    disk_gb: float = Field(ge=0, le=1e9)
    gpu: MachineText = ""
    gpu_memory_gb: float = Field(0.0, ge=0, le=1e9)
    power_w: float = Field(0.0, ge=0, le=1e9)


class Answer(Frozen):
    """What a site says, beside arrays: counts and sums, never a person.

    Parameters
    ----------
    loss
        Mean over the round's batches.
    received_loss
        Of the model as it was received, before training (q-FedAvg).
    steps
        Of the optimiser in this round (FedNova, SCAFFOLD).
    cluster
        Which of the models it was offered the site trained (IFCA).
    machine
        Of ``query.describe``, where a site is deployed.
    """

    site: SiteName
    subjects: int = Field(0, ge=0, le=MOST_PEOPLE)
    loss: float | None = None
    received_loss: float | None = None
    steps: int = Field(0, ge=0, le=10**12)
    cluster: int = Field(0, ge=0, le=10_000)
    seconds: float = Field(0.0, ge=0, le=1e9)
    notes: tuple[Note, ...] = Field((), max_length=8, description="fixed sentences about the method, never a person")
    labels: tuple[Label, ...] = Field((), max_length=100)
    counts: dict[CountName, Count] = Field(default_factory=dict, max_length=16)
    machine: Machine | None = None


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
    return _header(message.content, Request), _arrays(message.content)


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
    return _header(message.content, Answer), _arrays(message.content, consume)


def requests(task: Task, nodes: Mapping[str, int], header: Request, arrays: Arrays) -> dict[str, Message]:
    """The same message to several sites; they share one record, so that memory does not grow with the sites."""
    record = encode(header, arrays)
    return {site: Message(record, dst_node_id=node, message_type=task, group_id="0") for site, node in nodes.items()}


def request(task: Task, node: int, header: Request, arrays: ArrayRecord) -> Message:
    """A message to one site; ``arrays`` may be shared with other messages."""
    record = RecordDict({"header": ConfigRecord({"json": header.model_dump_json()}), "arrays": arrays})
    return Message(record, dst_node_id=node, message_type=task, group_id=str(header.round))


def size_of(message: Message) -> int:
    """Bytes of the arrays of a message; 0 of an error."""
    if message.has_error():
        return 0
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def answer(to: Message, header: Answer, arrays: Arrays) -> Message:
    """The answer to a request, packed where the request was."""
    return Message(encode(header, arrays, packing.is_packed(_record(to.content))), reply_to=to)


def packed(message: Message, arrays: ArrayRecord | None = None) -> RecordDict:
    """The content of a message with its arrays packed; ``arrays`` if they were packed before."""
    if arrays is None:
        arrays = packing.pack({name: npy.read(array) for name, array in _record(message.content).items()})
    return RecordDict({"header": message.content.config_records["header"], "arrays": arrays})


def refusal(to: Message, code: SiteCode) -> Message:
    """The only form in which an error leaves a site: its code and the code's public sentence."""
    return Message(Error(int(code), code.sentence), reply_to=to)


def error_code(message: Message) -> SiteCode:
    """The code of a refusal; anything that is not one of ours is an internal error."""
    try:
        return SiteCode(message.error.code)
    except ValueError:
        return SiteCode.INTERNAL


def _header(record: RecordDict, kind: type[Any]) -> Any:
    if set(record) != {"header", "arrays"} or set(record.config_records.get("header", {})) != {"json"}:
        raise WireError(f"a message holds {len(record)} records; expected arrays and header")
    text = record.config_records["header"]["json"]
    if not isinstance(text, str) or len(text) > MAXIMUM_HEADER:
        raise WireError("a message's header is not text of a sensible length")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise WireError(f"a message's header is wrong at {first['loc']}: {first['msg']}") from error


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
                f"array {name!r} is {array.stype[:20]} of {array.dtype[:20]}; allowed: {', '.join(ALLOWED_TYPES)}"
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
