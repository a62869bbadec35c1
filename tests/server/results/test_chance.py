"""Chance beside a figure: half of AUROC, the lesions' share of average precision."""

from __future__ import annotations

import numpy as np
import pytest
from run_results import run_results

from normfed_server.results.chance import chance, from_chance, lesion_share, merged_chance

RESULTS = run_results(lesion_share={"all": 0.03, "sites": {"a": 0.05}})


@pytest.mark.parametrize(
    ("metric", "site", "expected"),
    [
        ("auroc", None, 0.5),
        ("auroc", "a", 0.5),
        ("auprc", None, 0.03),
        ("auprc", "a", 0.05),
        ("auprc", "b", None),  # tells of no lesion
        ("dice", None, None),
        ("nobody-knows", None, None),
    ],
)
def test_chance_is_that_of_the_metric_at_the_site(metric: str, site: str | None, expected: float | None) -> None:
    assert chance(RESULTS, metric, site) == expected


@pytest.mark.parametrize(
    ("mean", "at", "expected"),
    [
        (0.5, 0.5, 0.0),
        (1.0, 0.5, 1.0),
        (0.25, 0.5, -0.5),
        (0.0, 0.02, -1.0),
        (0.51, 0.02, 0.5),
        (1.0, 1.0, 0.0),  # of voxels that all are lesion
        (None, 0.5, None),
        (0.5, None, None),
    ],
)
def test_how_far_from_chance_goes_from_zero_to_the_best_figure(
    mean: float | None, at: float | None, expected: float | None
) -> None:
    assert from_chance(mean, at) == pytest.approx(expected) if expected is not None else from_chance(mean, at) is None


def test_chance_of_a_merged_ranking_is_the_share_of_all_voxels_together() -> None:
    told = run_results(lesion_share={"all": 0.03, "sites": {}, "merged": 0.04})
    assert (merged_chance(told, "auprc"), merged_chance(told, "auroc")) == (0.04, 0.5)
    assert merged_chance(RESULTS, "auprc") == 0.03  # of an older run, which has but one
    assert merged_chance(run_results(), "auprc") is None


def test_the_share_of_several_sites_is_that_of_all_their_voxels() -> None:
    few = {"lesion": np.array([1.0, 1.0]), "normal": np.array([8.0, 0.0])}
    many = {"lesion": np.array([0.0, 3.0]), "normal": np.array([60.0, 27.0])}
    assert lesion_share([few]) == 2 / 10
    assert lesion_share([few, many]) == 5 / 100
