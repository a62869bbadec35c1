"""Overlap at the common threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.per_scan.overlap import METRICS

SURE = np.zeros((12, 12, 12))
SURE[3:7, 3:7, 3:7] = 1.0
LESION = SURE > 0


def measured(scores: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    scan = ScoredScan(scores, lesion, np.ones(scores.shape, bool), 1.0, threshold=0.5)
    return {metric.name: metric(scan) for metric in METRICS}


def test_a_map_that_is_the_lesion_overlaps_wholly() -> None:
    assert measured(SURE, LESION) == pytest.approx({"dice": 1.0, "surface_dice": 1.0})


def test_a_map_of_half_the_lesion_has_a_dice_of_two_thirds() -> None:
    half = SURE.copy()
    half[5:] = 0
    assert measured(half, LESION)["dice"] == pytest.approx(2 * 32 / (32 + 64))


def test_a_map_that_finds_nothing_of_a_lesion_overlaps_by_nothing() -> None:
    assert measured(0 * SURE, LESION) == {"dice": 0.0, "surface_dice": 0.0}


@pytest.mark.parametrize("scores", [SURE, 0 * SURE], ids=["something found", "nothing found"])
def test_without_a_lesion_overlap_says_nothing(scores: np.ndarray) -> None:
    assert all(math.isnan(value) for value in measured(scores, np.zeros_like(LESION)).values())


def test_surfaces_are_apart_by_millimetres_and_not_by_voxels() -> None:
    """The map's face lies one voxel above the lesion's."""
    higher = np.roll(SURE, 1, axis=0)
    coarse, fine = (
        {m.name: m(ScoredScan(higher, LESION, np.ones(SURE.shape, bool), size, threshold=0.5)) for m in METRICS}
        for size in (3.0, 0.5)
    )
    assert fine["surface_dice"] > coarse["surface_dice"] + 0.1  # the tolerance is 1 mm
    assert fine["dice"] == coarse["dice"]
