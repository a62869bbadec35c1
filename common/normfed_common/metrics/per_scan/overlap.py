"""Overlap with a lesion at the common threshold; of a scan without a lesion it says nothing."""

from __future__ import annotations

from normfed_common.metrics import segmentation
from normfed_common.metrics.base import Metric, ScoredScan


def _dice(scan: ScoredScan) -> float:
    return segmentation.dice(scan.abnormal, scan.lesion) if scan.lesion.any() else float("nan")


def _surface_dice(scan: ScoredScan) -> float:
    if not scan.lesion.any():
        return float("nan")
    return segmentation.surface_dice(scan.abnormal, scan.lesion, scan.voxel_size_mm, scan.surface_tolerance_mm)


METRICS = (
    Metric(
        "dice",
        "Dice at threshold",
        _dice,
        place=80,
        cited=("dice1945",),
        shown=frozenset({"table", "differences", "patients"}),
        about="overlap of what is at or above the common threshold with the lesion",
    ),
    Metric(
        "surface_dice",
        "surface Dice",
        _surface_dice,
        place=90,
        cited=("nikolov2018",),
        shown=frozenset({"table"}),
        about="share of the two surfaces that lie within the tolerance of each other",
    ),
)
