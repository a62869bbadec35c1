"""Receiver operating characteristic and precision-recall over all sites' voxels in one ranking, from merged counts.

What the order inside a bin may be is left open: a curve has a band that must hold the exact one. Hospitals merge bins
until enough people are in them (`disclosure.merged_bins`), which widens the band; nothing else is needed than the
counts from which the figures in metrics.json were made, and these are kept with the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.privacy import disclosure
from normfed_server.arms import evaluation
from normfed_server.arms.evaluation import VOXELS, ArmResult
from normfed_server.results.chance import lesion_share
from normfed_server.runs.folder import ARMS

INSIDE = 5  # points of a band inside a bin
SEEN = 500  # parts of a scale that are told apart in a figure


@dataclass(frozen=True)
class Band:
    """A curve (points, 2) and what it may be at most and at least, each (points, 2): across, then up."""

    curve: np.ndarray
    highest: np.ndarray
    lowest: np.ndarray


@dataclass(frozen=True)
class Curves:
    """Of one model; ``lesion_share`` is that of the voxels: the precision of guessing."""

    roc: Band
    precision: Band
    lesion_share: float


def curves(run: Path, model: str) -> Curves | None:
    """The curves of a model in a run folder; None where it was only ranked, or nothing is defined.

    Raises
    ------
    DamagedError
        If its figures are damaged.
    """
    found = evaluation.load(run / ARMS / model / "evaluation.safetensors")
    return None if found is None or not found.counts else of_counts(found)


def of_counts(found: ArmResult) -> Curves | None:
    """The curves of an arm that was tested in full."""
    told = named.add(list(found.counts.values()))
    if not (told["normal"].any() and told["lesion"].any()):
        return None
    raised = told
    if not all(summary.resampled for summary in found.summaries.values()):  # hospitals, which merge bins
        reached = ({name: disclosure.reach(counts[name]) for name in VOXELS} for counts in found.counts.values())
        raised = named.add(reached)
    normal, lesion = (told[name][::-1].astype(float) for name in ("normal", "lesion"))
    normal_raised, lesion_raised = (raised[name][::-1].astype(float) for name in ("normal", "lesion"))
    return Curves(
        Band(
            _roc(normal, lesion),
            _steps(normal, lesion_raised, lesions_first=True),
            _steps(normal_raised, lesion, lesions_first=False),
        ),
        Band(
            _precision(normal, lesion),
            _inside(normal, lesion_raised, lesions_first=True),
            _inside(normal_raised, lesion, lesions_first=False),
        ),
        lesion_share([told]),
    )


def _roc(normal: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """False and true positive rates, from the highest bin (first) down."""
    rates = [np.concatenate([[0.0], np.cumsum(counts) / counts.sum()]) for counts in (normal, lesion)]
    return np.stack(rates, -1)


def _steps(normal: np.ndarray, lesion: np.ndarray, *, lesions_first: bool) -> np.ndarray:
    """The same where of every bin the lesions, or the normal voxels, come first."""
    corners = _roc(normal, lesion)
    between = np.stack([corners[:-1, 0], corners[1:, 1]] if lesions_first else [corners[1:, 0], corners[:-1, 1]], -1)
    found = np.empty((2 * len(corners) - 1, 2))
    found[0::2], found[1::2] = corners, between
    return found


def _precision(normal: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Recall and precision after every bin that has lesions; at recall 0 the precision is the first one."""
    true, false = np.cumsum(lesion), np.cumsum(normal)
    has = lesion > 0
    recall, precision = true[has] / lesion.sum(), true[has] / (true + false)[has]
    return np.stack([np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision])], -1)


def _inside(normal: np.ndarray, lesion: np.ndarray, *, lesions_first: bool) -> np.ndarray:
    """Recall and precision while the lesion voxels of a bin come one by one, before or after its normal ones."""
    true, false = np.cumsum(lesion) - lesion, np.cumsum(normal) - (normal if lesions_first else 0.0)
    has = lesion > 0
    parts = np.linspace(0, 1, INSIDE)[None]
    true = true[has][:, None] + parts * lesion[has][:, None]
    all_found = true + false[has][:, None]
    precision = np.divide(true, all_found, out=np.full_like(true, float(lesions_first)), where=all_found > 0)
    return np.stack([(true / lesion.sum()).ravel(), precision.ravel()], -1)


def guessing(found: Iterable[Curves]) -> float:
    """Precision of guessing, of the one line that stands beside the curves of several models: the first's, which is
    the federated one's. Others may serve fewer sites."""
    return next(iter(found)).lesion_share


def thinned(points: np.ndarray) -> np.ndarray:
    """A curve (points, 2) without points next to the ones before them; its ends stay."""
    places = np.round(points * SEEN)
    kept = np.concatenate([[True], (np.diff(places, axis=0) != 0).any(1)])
    kept[-1] = True
    return points[kept]
