"""What a finished run's normal people say of the scores of its federated model: thresholds, and p-values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError, WireError
from normfed_common.metrics import calibration
from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.calibration import NormalVoxels
from normfed_common.metrics.tissue import CLASSES
from normfed_common.study.config import StudyConfig


@dataclass(frozen=True)
class Levels:
    """Thresholds as `thresholds_of` has them, and voxels for p-values; None where the run has none."""

    thresholds: np.ndarray | None
    normal: NormalVoxels | None


def thresholds_of(run: Path) -> np.ndarray | None:
    """The run's abnormality thresholds of the federated model, float32 (classes + 1,), the last the whole brain's; None
    where they are on another scale than today's maps.

    Raises
    ------
    RunError
        If the run's figures are damaged.
    """
    path = run / "metrics.json"
    if not path.exists():
        return None
    try:
        return _thresholds(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path}: damaged ({error}). Copy the run folder again, or resume the run.") from error


def _thresholds(metrics: Any) -> np.ndarray | None:
    if "lowest_score" not in metrics:
        return None
    federated = metrics["evaluation"]["federated"]
    whole = federated.get("threshold", {}).get("value")
    by_class = federated.get("calibration", {}).get("thresholds", {})
    values = [*(by_class.get(name, whole) for name in CLASSES), whole]
    return None if None in values else np.array(values, np.float32)


def normal_voxels(run: Path) -> NormalVoxels | None:
    """What p-values compare with; None where nobody was held out, or the run is from before they were kept.

    Raises
    ------
    RunError
        If the run's file holds anything else.
    """
    path = run / calibration.FILE
    if not path.exists():
        return None
    arrays = named.load(path, foreign=True)
    try:
        return NormalVoxels.of(arrays)
    except WireError as error:
        raise RunError(f"{path}: {error}. Remove it, and resume the run to make it again.") from error


def at_thresholds(
    anomaly_map: np.ndarray,
    mask: np.ndarray,
    lesion: np.ndarray,
    classes: np.ndarray,
    thresholds: np.ndarray,
    study: StudyConfig,
) -> ScoredScan:
    """A scan as the metrics see it, at a run's thresholds.

    Parameters
    ----------
    anomaly_map, mask, lesion, classes
        (X, Y, Z).
    thresholds
        See `thresholds_of`.
    """
    *by_class, whole = thresholds
    size = study.preprocessing.voxel_size_mm
    minimum = study.evaluation.minimum_cluster_voxels(size)
    by_voxel = np.array(by_class)[classes]
    return ScoredScan(anomaly_map, lesion, mask, size, float(whole), minimum, thresholds=by_voxel)
