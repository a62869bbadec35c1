"""What protocol 1 is, frozen: fields, tasks, codes, messages, studies, the bundle. Every later version must read it.

Run as a script it writes `golden/protocol-N` anew. That is right while no release speaks this protocol, and to add what
a minor release added (CONTRIBUTING.md); never to make a test pass that says that something is gone or changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import secure_payloads
from jobs import STUDY as WITH_COMPARISONS
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from normfed_client.hospital.rules import Rules
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.deployment import bundle
from normfed_common.deployment.enrolment import Enrolment
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.foundation.registry import Registry
from normfed_common.foundation.versions import PROTOCOL
from normfed_common.models.catalogue import MODELS
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Described, Figures, Machine, Told
from normfed_common.wire.counter import Counter
from normfed_common.wire.evaluation import ScoreRange
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Payload, Request
from normfed_common.wire.tasks import Task
from normfed_deploy.tiny import PRIVATE, STUDY

FOLDER = Path(__file__).parent / "golden"
ROOTS: tuple[type[BaseModel], ...] = (Request, Answer, StudyConfig, Enrolment, Rules)
SENT = "sent"  # a field that is in every message; of another, what it is where it is left out

Fields = dict[str, dict[str, Any]]


def fields(roots: Mapping[str, type[BaseModel]]) -> Fields:
    """The fields of models and of all models in them, by the models' names."""
    found: Fields = {}
    waiting = dict(roots)
    while waiting:
        name, kind = waiting.popitem()
        if name in found:
            continue
        found[name] = {field: _kind(info) for field, info in kind.model_fields.items()}
        for info in kind.model_fields.values():
            waiting |= {inner.__name__: inner for inner in _models(info.annotation)}
    return dict(sorted(found.items()))


def spoken() -> Fields:
    """The fields of everything that crosses, of every study, and of what answers are kept by."""
    found: Fields = json.loads(json.dumps(fields({kind.__name__: kind for kind in ROOTS} | dict(_entries()))))
    return found


def _entries() -> Iterator[tuple[str, type[BaseModel]]]:
    learners: tuple[tuple[str, Registry[Any]], ...] = (("model", MODELS), ("transform", TRANSFORMS))
    for what, registry in learners:
        for name in registry:
            if registry.origin(name) is None:
                yield f"{what} {name}", registry[name].Config
    for name in ALGORITHMS:
        if ALGORITHMS.origin(name) is None:
            yield f"strategy {name}", ALGORITHMS[name].parameters


def _kind(info: FieldInfo) -> Any:
    default = info.get_default(call_default_factory=True)
    if info.is_required() or info.exclude_if is None or not info.exclude_if(default):
        return SENT
    return {"left out": default.model_dump(mode="json") if isinstance(default, BaseModel) else default}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def changes(before: Fields, now: Fields) -> list[str]:
    """What of a protocol a version broke: what is gone, is left out otherwise, or is new and yet always sent."""
    found = []
    for name, known in before.items():
        for field, kind in known.items():
            if field not in now.get(name, {}):
                found.append(f"{name}.{field} is gone")
            elif now[name][field] != kind:
                found.append(f"{name}.{field} was {kind}, and is {now[name][field]}")
        for field, kind in now.get(name, {}).items():
            if field not in known and kind == SENT:
                found.append(f"{name}.{field} is new and always sent: older versions refuse it (exclude_if)")
    return found


def studies() -> list[StudyConfig]:
    """Studies with a little of everything."""
    return [resolve(STUDY, "golden"), resolve(PRIVATE, "golden"), WITH_COMPARISONS]


REQUESTED: dict[str, dict[str, Any]] = {
    "train.round": {"round": 3, "since": 2, "compression": "fp16", "secure": {"attempt": 1, "boxes": {"b": "0" * 296}}},
    "train.personal": {"round": 6},
    "train.sums": {"phase": "moments", "iteration": 2, "secure": {"boxes": {}}},
    "evaluate.score": {"detail": "ranking"},
    "evaluate.count": {"low": -0.5, "high": 1.25},
    "evaluate.measure": {"threshold": 0.5, "maps": True},
    **secure_payloads.SHORT_REQUESTS,
    "query.shares": {"step": secure_payloads.STEP, "adverts": [secure_payloads.ADVERT]},
}
ANSWERED: dict[str, dict[str, Any]] = {
    "train.round": {"loss": 0.25, "received_loss": 0.5, "steps": 40, "cluster": 1},
    "train.canary": {"steps": 1},
    "train.personal": {"loss": 0.125},
    "evaluate.score": {"groups": ["everybody", "WMH"]},
    **secure_payloads.SHORT_ANSWERS,
}
MACHINE = Machine(
    normfed="0.1.0",
    flwr="1.41.0",
    torch="2.13.0+cpu",
    python="3.11.7",
    study="0f",
    cores=8,
    memory_gb=16.5,
    disk_gb=99.0,
    gpu="NVIDIA H100",
    gpu_memory_gb=79.0,
    power_w=180.0,
)
COUNTER = Counter(entries=3, head="a" * 64, signature="30" * 40)


def requests() -> Iterator[Request]:
    """One of every task, with all that a request can say."""
    study = studies()[2]
    for kind in get_args(Payload):
        payload = kind.model_validate(REQUESTED.get(kind.model_fields["task"].default, {}), strict=False)
        yield Request(
            study="{}", run="asked-20260101-120000", protocol=1, version="0.1.0",
            plugins={"normfed-robust": "0.1"}, arm="local-a~2", model=study.model, strategy=study.strategy, repeat=1,
            ledger=COUNTER, payload=payload,
        )  # fmt: skip


def answers() -> Iterator[Answer]:
    """One of every task, with all that an answer can say."""
    own = {
        "query.describe": Described(counts={"train": 20, "held_out": -1, "test": 0}, kinds=("WMH",), machine=MACHINE),
        "evaluate.measure": Figures(groups=("everybody",)),
    }
    for kind in get_args(Told):
        task = kind.model_fields["task"].default
        payload = own.get(task) or kind.model_validate(ANSWERED.get(task, {}), strict=False)
        yield Answer(site="a", subjects=7, seconds=1.5, notes=("a note",), ledger=COUNTER, payload=payload)


def arrays() -> dict[str, Arrays]:
    """Of an offer of two models with something beside them, and of a range of scores."""
    model = {"encoder/0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array([3], np.int64)}
    offer = Offer((model, {name: array + 1 for name, array in model.items()}), {"encoder/0.weight": np.ones((2, 3))})
    return {"offer": offers.encode(offer), "range": ScoreRange(-0.5, 2.0).arrays()}


def write(folder: Path) -> None:
    """Everything, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    frozen = {
        "bundle": bundle.digest(),
        "tasks": sorted(get_args(Task)),
        "codes": {code.name: int(code) for code in SiteCode},
        "fields": spoken(),
    }
    (folder / "protocol.json").write_text(json.dumps(frozen, indent=1) + "\n")
    for name, found in (("requests", requests()), ("answers", answers())):
        (folder / f"{name}.jsonl").write_text("".join(header.model_dump_json() + "\n" for header in found))
    told = [{"digest": study.digest, "study": study.model_dump_json()} for study in studies()]
    (folder / "studies.json").write_text(json.dumps(told, indent=1) + "\n")
    named.save(folder / "arrays.safetensors", {f"{m}:{n}": a for m, of in arrays().items() for n, a in of.items()})


if __name__ == "__main__":
    write(FOLDER / f"protocol-{PROTOCOL}")
