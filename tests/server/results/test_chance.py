"""Chance beside a figure: half of AUROC, the lesions' share of average precision."""

from __future__ import annotations

import numpy as np
import pytest
from run_results import run_results

from normfed_server.results.chance import chance, lesion_share

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


def test_the_share_of_several_sites_is_that_of_all_their_voxels() -> None:
    few = {"lesion": np.array([1.0, 1.0]), "normal": np.array([8.0, 0.0])}
    many = {"lesion": np.array([0.0, 3.0]), "normal": np.array([60.0, 27.0])}
    assert lesion_share([few]) == 2 / 10
    assert lesion_share([few, many]) == 5 / 100
