"""A server that asks a hospital whatever it likes, and the study that it starts from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import nibabel
import numpy as np
import pytest
import secure_payloads
import yaml
from flwr.app import ConfigRecord, Message, Metadata, RecordDict

from normfed_client.answering.serving import call
from normfed_client.hospital.folder import HOME_VARIABLE
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.versions import installed_version
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer
from normfed_common.wire.messages import decode_answer, encode, error_code
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Payload, Request

MINIMUM = 4
SITES = {name: {"control": 14, "WMH": 6, "MS": 5} for name in ("north", "south", "west")}
STUDY: dict[str, Any] = {
    "name": "asked",
    "seed": 7,
    "data": {"modalities": ["T1w", "FLAIR"]},
    "preprocessing": {"voxel_size_mm": 4},
    "model": {
        "name": "siamese",
        "architecture": "isbi",
        "patch_size": 9,
        "norm": "layer",
        "pairs_per_subject": 60,
        "batch_size": 30,
    },
    "federation": {"rounds": 2, "minimum_cohort": MINIMUM},
    "comparisons": {"local": False, "pooled": False, "baselines": [{"name": "intensity"}, {"name": "atlas"}]},
    "evaluation": {"bins": 100, "bootstrap": 200},
}
RULES: dict[str, object] = {
    "minimum_people": MINIMUM,
    "minimum_people_per_voxel": MINIMUM,
    "held_out_share": 0.4,
    "device": "cpu",
    "quality_gate": "off",
    "approve_by_rule": [{"manifest": False}],  # attacks ask for more than any manifest lists
}

PAYLOADS: dict[str, type[Any]] = {kind.model_fields["task"].default: kind for kind in get_args(Payload)}
EXAMPLES: dict[str, dict[str, Any]] = {  # what a payload cannot do without
    "train.round": {"round": 1},
    "train.personal": {"round": 1},
    "train.sums": {"phase": "moments"},
    "evaluate.count": {"low": 0.0, "high": 1.0},
    "evaluate.measure": {"threshold": 0.5},
    **secure_payloads.SHORT_REQUESTS,
}


def offered(*models: Arrays, **beside: np.ndarray) -> Arrays:
    """Models as a request carries them."""
    return offers.encode(Offer(models, beside))


def as_sums(phase: str, sums: Mapping[str, Any]) -> Arrays:
    """What a server says that the sums of a phase are."""
    return {f"sums.{phase}.{name}": np.asarray(value, np.float64) for name, value in sums.items()}


def otherwise(number: int) -> Arrays:
    """Arrays that a model of sums makes nothing of: with each number the same question in other words."""
    return offered({"w": np.full(1, number, np.float32)})


def study(**changes: Any) -> StudyConfig:
    """The study with sections changed."""
    raw = {key: dict(value) if isinstance(value, dict) else value for key, value in STUDY.items()}
    for section, values in changes.items():
        added = isinstance(values, dict) and "name" not in values  # a named entry replaces the one before
        raw[section] = {**raw.get(section, {}), **values} if added else values
    return resolve(raw, "test")


def only_one_has_the_first_slabs(server: Server, cohort: Path, names: Sequence[str], other: Path) -> None:
    """Give the hospital a copy of the cohort in which nobody but the first of these people has brain in 14 slabs."""
    shutil.copytree(cohort, other)
    for name in names[1:]:
        path = next(other.glob(f"derivatives/masks/{name}/anat/*desc-brain_mask.nii.gz"))
        image = nibabel.load(path)
        mask = np.asarray(image.dataobj).copy()
        mask[:14] = 0
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)
    site_yaml = server.folder / "site.yaml"
    site_yaml.write_text(yaml.safe_dump(yaml.safe_load(site_yaml.read_text()) | {"data": str(other)}))


class Server:
    """Asks one hospital; what it says is the attacker's to choose."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setenv(HOME_VARIABLE, str(folder))

    def ask(self, task: str, asked: StudyConfig, arrays: Arrays | None = None, **fields: Any) -> Message:
        """The reply to one request; ``fields`` are the header's or the payload's."""
        kind = PAYLOADS[task]
        header = {name: value for name, value in fields.items() if name not in kind.model_fields}
        payload = {name: value for name, value in fields.items() if name in kind.model_fields}
        values = {
            "study": asked.model_dump_json(),
            "run": "run-1",
            "version": installed_version(),
            "arm": "federated",
            "model": asked.model,
            "strategy": asked.strategy,
            "payload": kind(**{**EXAMPLES.get(task, {}), **payload}),
        }
        return self.send(task, encode(Request(**{**values, **header}), arrays or {}))

    def send(self, task: str, record: RecordDict) -> Message:
        """The reply to whatever is sent."""
        metadata = Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, task)
        return call(Message(content=record, metadata=metadata))  # type: ignore[call-overload]

    def header(self, task: str, asked: StudyConfig, **fields: Any) -> Message:
        """The reply to a request whose header no `Request` would allow."""
        study = asked.model_dump_json()
        payload = PAYLOADS[task](**EXAMPLES.get(task, {}))
        request = Request(study=study, arm="federated", model=asked.model, strategy=asked.strategy, payload=payload)
        record = encode(request, {})
        raw = request.model_dump(mode="json") | {"run": "run-1", "version": installed_version()}
        for name, value in fields.items():
            (raw["payload"] if name in type(payload).model_fields else raw)[name] = value
        record["header"] = ConfigRecord({"json": json.dumps(raw)})
        return self.send(task, record)

    def answer(
        self, task: str, asked: StudyConfig, arrays: Arrays | None = None, **fields: Any
    ) -> tuple[Answer, Arrays]:
        """The answer to one request, which is not refused."""
        reply = self.ask(task, asked, arrays, **fields)
        assert not reply.has_error(), error_code(reply)
        return decode_answer(reply)

    def sums(self, asked: StudyConfig, run: str) -> Arrays:
        """The atlas' sums of a study whose model is the atlas."""
        self.answer("query.describe", asked, run=run)
        found: dict[str, np.ndarray] = self.answer("train.sums", asked, run=run, phase="moments")[1]
        return found
