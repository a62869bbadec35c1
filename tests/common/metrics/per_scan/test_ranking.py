"""Metrics of a ranking: their values by chance and of a perfect map, per scan and from counts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from normfed_common.metrics.base import Metric, ScoredScan
from normfed_common.metrics.histograms import MergedCounts
from normfed_common.metrics.per_scan.ranking import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}
WITH_CHANCE = [metric for metric in METRICS if metric.chance is not None]
MERGED = [metric for metric in METRICS if metric.merged is not None]
SHAPE = (24, 24, 24)


def scan(separation: float, seed: int = 0) -> ScoredScan:
    """Noise, and one lesion that scores higher by a separation."""
    lesion = np.zeros(SHAPE, bool)
    lesion[4:16, 4:16, 4:16] = True
    scores = np.random.default_rng(seed).standard_normal(SHAPE) + separation * lesion
    return ScoredScan(scores, lesion, np.ones(SHAPE, bool), 1.0)


@pytest.mark.parametrize("metric", WITH_CHANCE, ids=lambda metric: metric.name)
def test_a_map_of_noise_gets_what_the_metric_says_of_chance(metric: Metric) -> None:
    assert metric.chance == pytest.approx(np.mean([metric(scan(0, seed)) for seed in range(5)]), abs=0.02)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_perfect_map_gets_the_highest_value_of_all(metric: Metric) -> None:
    assert metric(scan(100)) == pytest.approx(metric.highest) == pytest.approx(1.0)
    assert metric.needs == "scores"
    assert metric.higher_is_better


def test_a_lesion_that_scores_lowest_of_all_has_the_lowest_area_and_not_none() -> None:
    worst = scan(-100)
    for name in ("auroc", "auroc30", "aupro", "aupro30"):
        assert BY_NAME[name](worst) == 0
    level = ScoredScan(np.where(worst.lesion, 0.0, 1.0), worst.lesion, worst.mask, 1.0)  # all of it at one level
    assert BY_NAME["aupro"](level) == 0


@pytest.mark.parametrize("metric", MERGED, ids=lambda metric: metric.name)
def test_counts_of_one_scan_in_fine_bins_give_the_scans_own_figure(metric: Metric) -> None:
    """One lesion, so that the share of lesions found is the share of voxels found."""
    one = scan(1)
    edges = np.quantile(one.scores, np.linspace(0, 1, 4_001))
    normal, lesion = (np.histogram(one.scores[where], edges)[0] for where in (~one.lesion, one.lesion))
    assert metric.merged is not None
    found = metric.merged(MergedCounts(normal, lesion, lesion / lesion.sum()))
    assert found.value == pytest.approx(metric(one), abs=5e-3)
    assert found.low - 1e-9 <= metric(one) <= found.high + 1e-9


def test_the_limited_area_is_scikit_learns_rescaled_after_mcclish() -> None:
    one = scan(1)
    expected = roc_auc_score(one.lesion.ravel(), one.scores.ravel(), max_fpr=0.3)
    assert BY_NAME["auroc30_mcclish"](one) == pytest.approx(expected)
    assert BY_NAME["auroc"](one) == pytest.approx(roc_auc_score(one.lesion.ravel(), one.scores.ravel()))
