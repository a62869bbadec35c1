"""Chance beside a figure: half of AUROC, the lesions' share of average precision."""

from __future__ import annotations

import pytest
from run_results import run_results

from normfed_server.report.chance import beside, chance

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


def test_a_figure_is_followed_by_its_chance() -> None:
    assert [beside(RESULTS, metric) for metric in ("auroc", "auprc", "dice")] == [
        " (chance 0.5)",
        " (chance 0.030)",
        "",
    ]
    assert "not known of this run" in beside(run_results(), "auprc")
