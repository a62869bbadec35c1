"""Jobs at a hospital of which there is nothing but what a guard looks at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from normfed_client.answering.job import Job
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.rules import Rules
from normfed_common.foundation.arrays import Arrays
from normfed_common.studies import resolve
from normfed_common.wire.requests import Payload, Request

STUDY = resolve(
    {
        "name": "asked",
        "data": {"modalities": ["T1w"]},
        "model": {"name": "siamese", "patch_size": 9},
        "strategy": {"name": "fedprox", "mu": 0.1},
        "federation": {"rounds": 3, "minimum_cohort": 10, "compression": "fp16"},
        "comparisons": {
            "baselines": [{"name": "atlas"}],
            "strategies": ["ditto", "fine-tuning"],
            "compressions": ["int8"],
            "repeats": 2,
        },
    },
    "test",
)


def job(
    folder: Path, payload: Payload, arrays: Arrays | None = None, key: str = "k", new: bool = False, **header: Any
) -> Job[Any]:
    """A job of the study above, in a run that is there already unless it is ``new``."""
    output = folder / "state" / "run"
    config = SiteConfig(name="a", data=folder, owns=(), cache=folder / "cache", output=output, device="cpu")
    if not new:
        config.output.mkdir(parents=True, exist_ok=True)
    values = {"study": "{}", "run": "run", "arm": "federated", "model": STUDY.model, "strategy": STUDY.strategy}
    request = Request(**{**values, **header}, payload=payload)
    made: Job[Any] = Job(request, payload, arrays or {}, config, key)
    made.__dict__["site"] = SimpleNamespace(study=STUDY, custody=None)
    return made


def hospital(folder: Path, **rules: Any) -> Any:
    """A hospital's folder and its rules."""
    prepared: list[str] = []
    return SimpleNamespace(
        config=Rules(**rules),
        state=folder / "state",
        cache=folder / "cache",
        check_record=lambda: None,
        prepare=prepared.append,
        prepared=prepared,
    )
