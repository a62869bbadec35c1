"""Chance in words, after a figure."""

from __future__ import annotations

from run_results import run_results

from normfed_server.report.chance import beside

RESULTS = run_results(lesion_share={"all": 0.03, "sites": {"a": 0.05}})


def test_a_figure_is_followed_by_its_chance() -> None:
    assert [beside(RESULTS, metric) for metric in ("auroc", "auprc", "dice")] == [
        " (chance 0.5)",
        " (chance 0.030)",
        "",
    ]
    small = run_results(lesion_share={"all": 0.00031, "sites": {}})
    assert beside(small, "auprc") == " (chance 0.00031)"  # and not 0.000
    assert "not known of this run" in beside(run_results(), "auprc")
