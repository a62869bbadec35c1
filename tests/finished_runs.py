"""Run folders as a finished run leaves them, without a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.studies import resolve

THREADS = 2


def written(folder: Path, arrays: Arrays | None = None, header: dict[str, Any] | None = None, **study: Any) -> Path:
    """A finished run of sites a and b, and of pooled training; of the intensity baseline unless said otherwise."""
    raw = {
        "name": "done",
        "data": {"modalities": ["T1w", "FLAIR"]},
        "preprocessing": {"voxel_size_mm": 4},
        "model": {"name": "intensity"},
        "federation": {"threads_per_site": THREADS},
    }
    for site in ("a", "b", "pooled"):
        (folder / "sites" / site).mkdir(parents=True)
    (folder / "study.yaml").write_text(resolve({**raw, **study}, "test").model_dump_json())
    named.save(folder / "model.safetensors", arrays or {}, header)
    return folder


def set_threshold(run: Path, value: float, **by_class: float) -> None:
    """Give a run a threshold of its model, and perhaps one for each class of place."""
    federated = {"threshold": {"value": value}, "calibration": {"thresholds": by_class}}
    found = {"lowest_score": 0.0, "evaluation": {"federated": federated}}
    (run / "metrics.json").write_text(json.dumps(found))
