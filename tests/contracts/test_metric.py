"""What every metric must keep, whoever made it: run on the built-in ones, and on a plug-in's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from lesions import case
from toy_metric import METRIC as TOY

from normfed_common.metrics.base import SHARE, Metric, NormalPeople, ScoredScan, merged_figures
from normfed_common.metrics.catalogue import METRICS
from normfed_common.metrics.histograms import MergedCounts

EVERY = pytest.mark.parametrize("metric", [*(METRICS[name] for name in METRICS), TOY], ids=lambda metric: metric.name)
CALIBRATION = NormalPeople(np.array([0.0, 1.0, 2.0]), np.array([1, 2, 3, 0]))


def scanned(seed: int, **changes: np.ndarray) -> ScoredScan:
    scores, lesion, mask = case(seed)
    lesion &= mask
    scan = ScoredScan(scores - scores.min(), lesion, mask, 4.0, 4.5, 2, 4.0, 1.5, CALIBRATION)
    return replace(scan, **changes)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_a_figure_is_a_float_within_its_bounds(metric: Metric, seed: int) -> None:
    value = metric(scanned(seed))
    assert type(value) is float
    assert metric.lowest <= value <= metric.highest


@EVERY
def test_the_same_scan_gives_the_same_figure_and_stays_as_it_is(metric: Metric) -> None:
    scan = scanned(1)
    before = [array.copy() for array in (scan.scores, scan.lesion, scan.mask)]
    assert metric(scan) == metric(scan) == metric(scanned(1))
    for array, kept in zip((scan.scores, scan.lesion, scan.mask), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@EVERY
def test_scores_outside_the_brain_count_for_nothing(metric: Metric) -> None:
    scan = scanned(2)
    assert metric(replace(scan, scores=np.where(scan.mask, scan.scores, 1e6))) == metric(scan)


@EVERY
def test_a_map_that_is_the_lesion_is_no_worse_than_one_that_is_its_opposite(metric: Metric) -> None:
    scan = scanned(0)
    perfect, opposite = (metric(replace(scan, scores=9.0 * of)) for of in (scan.lesion, ~scan.lesion & scan.mask))
    if math.isnan(opposite):  # such as the rank of the first cluster that hits, where none does
        assert not math.isnan(perfect)
    else:
        assert perfect >= opposite if metric.higher_is_better else perfect <= opposite


@EVERY
def test_without_a_lesion_or_a_normal_voxel_a_figure_is_nan_or_within_its_bounds(metric: Metric) -> None:
    scan = scanned(0)
    for lesion in (np.zeros_like(scan.lesion), scan.mask.copy()):
        value = metric(replace(scan, lesion=lesion))
        assert math.isnan(value) or metric.lowest <= value <= metric.highest


@EVERY
def test_what_needs_scores_alone_is_there_without_threshold_and_calibration(metric: Metric) -> None:
    scan = scanned(0)
    bare = replace(scan, threshold=float("nan"), told_score=float("nan"), calibration=None)
    if metric.needs == "scores":
        assert metric(bare) == metric(scan)


@EVERY
def test_a_map_of_noise_is_at_chance(metric: Metric) -> None:
    if metric.chance is None:
        return
    shape, rng = (30, 30, 30), np.random.default_rng(3)
    lesion = rng.random(shape) < 0.2
    values = [
        metric(ScoredScan(rng.random(shape), lesion, np.ones(shape, bool), 1.0, 0.9, 1, 1.0, 1.5, CALIBRATION))
        for _ in range(4)
    ]
    assert np.mean(values) == pytest.approx(metric.chance, abs=0.03)


@EVERY
def test_over_one_scan_whose_bins_are_its_scores_the_merged_figure_is_that_of_the_scan(metric: Metric) -> None:
    if metric.merged is None:
        return
    scores = np.arange(40.0)
    lesion = np.random.default_rng(5).random(40) < 0.3
    grid = (40, 1, 1)
    scan = ScoredScan(scores.reshape(grid), lesion.reshape(grid), np.ones(grid, bool), 1.0)
    counts = MergedCounts((~lesion).astype(int), lesion.astype(int), scan_regions(scan))
    found = merged_figures([metric], counts)[metric.name]
    assert found.low - 1e-9 <= metric(scan) <= found.high + 1e-9


def scan_regions(scan: ScoredScan) -> np.ndarray:
    from normfed_common.metrics.curves import region_weights

    return region_weights(scan.lesion).ravel()


@EVERY
def test_a_metric_says_what_it_is_in_words(metric: Metric) -> None:
    assert metric.name.isidentifier()
    assert metric.title
    assert metric.unit != SHARE or (metric.lowest, metric.highest) == (0.0, 1.0)
