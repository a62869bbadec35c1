"""Lesions found by clusters: which of a scan's figures each metric is, and between what it lies."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.per_scan.detection import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}


def test_one_false_cluster_before_the_only_true_one() -> None:
    """Two lesions; the higher cluster hits none, the lower hits one of them."""
    scores, lesion = np.zeros((3, 3, 24)), np.zeros((3, 3, 24), bool)
    scores[1, 1, 1], scores[1, 1, 9] = 9.0, 5.0
    lesion[1, 1, 9:11], lesion[1, 1, 20] = True, True
    scan = ScoredScan(scores, lesion, np.ones(scores.shape, bool), 1.0, threshold=1.0)
    assert {name: metric(scan) for name, metric in BY_NAME.items()} == {
        "lesion_sensitivity": 1 / 2,
        "cluster_rank": 2.0,
        "false_clusters": 1.0,
        "froc": 1 / 2,  # one false cluster exceeds none of the limits
    }


def test_counts_of_clusters_are_better_when_they_are_fewer_and_may_exceed_one() -> None:
    counted = {"cluster_rank", "false_clusters"}
    assert {name for name, metric in BY_NAME.items() if not metric.higher_is_better} == counted
    assert {name for name, metric in BY_NAME.items() if metric.unit != "share"} == counted
    assert all(BY_NAME[name].highest == pytest.approx(100) for name in counted)


def test_of_ten_clusters_no_more_can_be_false_which_is_the_range_that_people_read() -> None:
    """Once it was said to reach to 100, the bound on what a site may claim."""
    scores = np.zeros((3, 3, 100))
    scores[1, 1, 1:-1:4] = 1 + np.arange(25)
    lesion = np.zeros(scores.shape, bool)
    scan = ScoredScan(scores, lesion, np.ones(scores.shape, bool), 1.0, threshold=1.0)
    found = BY_NAME["false_clusters"](scan)
    assert BY_NAME["false_clusters"].range == BY_NAME["cluster_rank"].range == f"0 to {found:g}" == "0 to 10"
    assert BY_NAME["froc"].range == "0 to 1"
