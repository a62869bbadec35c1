"""Figures as papers print them, and who is called the best."""

from __future__ import annotations

from typing import Any

import pytest
from run_results import run_results

from normfed_server.paper.rounding import difference, interval, number, percent, signed, surely_best, with_interval
from normfed_server.report.verdicts import verdict
from normfed_server.results.figures import Difference
from normfed_server.results.layout import Described, RunResults

CLUSTERS = Described(title="clusters", unit="clusters", higher_is_better=False)


@pytest.mark.parametrize(
    ("value", "metric", "shown"),
    [
        (0.12349, None, "0.123"),
        (-0.5, None, "$-$0.500"),
        (-0.0001, None, "0.000"),
        (2.55, CLUSTERS, "2.5"),
        (None, None, "--"),
        (float("nan"), None, "--"),
    ],
)
def test_a_number_has_three_decimals_of_a_share_and_one_of_a_count(
    value: float | None, metric: Described | None, shown: str
) -> None:
    assert number(value, metric) == shown


def test_intervals_differences_and_shares() -> None:
    assert interval((0.1, None)) == interval(None) == ""
    assert with_interval(0.5, (0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert (signed(0.25), signed(-0.25), signed(0.0001)) == ("$+$0.250", "$-$0.250", "0.000")
    assert percent(0.0213) == r"2.1\,\%"


@pytest.mark.parametrize(
    ("mean", "ends", "shown"),
    [
        (0.1, (0.05, 0.15), "$+$0.100 [0.050, 0.150]"),
        (0.1, (None, None), "$+$0.100"),
        (0.0, (0.0, 0.0), "the same"),
        (0.0001, (-0.0004, 0.0004), r"0.000 (within $\pm$0.0005)"),
    ],
)
def test_a_difference_that_tables_would_show_as_zero_to_zero_is_said_in_words(
    mean: float, ends: tuple[float | None, float | None], shown: str
) -> None:
    assert difference(Difference(mean=mean, ci95=ends)) == shown


def of(mean: float, low: float, high: float, n: int = 20) -> dict[str, Any]:
    figure = {"auroc": {"mean": mean, "sd": 0.1, "n": n, "ci95": [low, high]}}
    return {"all": figure, "sites": {}, "kinds": {}, "worst_site": {}}


def best(models: dict[str, dict[str, Any]], differences: dict[str, Difference], everybody: bool = True) -> str:
    results: RunResults = run_results(evaluation=models)
    figures = {name: model.all for name, model in results.evaluation.items()}
    return surely_best(results, figures, "auroc", differences, everybody=everybody)


def less(mean: float, low: float, high: float) -> Difference:
    return Difference(mean=mean, ci95=(low, high))


OURS = of(0.9, 0.8, 1.0)


@pytest.mark.parametrize(
    ("difference", "found"),
    [
        (less(0.05, 0.01, 0.09), "federated"),  # although the intervals of the means overlap
        (less(0.05, -0.01, 0.11), ""),
        (less(0.0003, 0.0002, 0.0004), ""),  # not in the digits that are shown
    ],
)
def test_beside_the_federated_model_the_paired_interval_decides(difference: Difference, found: str) -> None:
    assert best({"federated": OURS, "local": of(0.85, 0.75, 0.95)}, {"local": difference}) == found


def test_another_model_may_be_the_best() -> None:
    models = {"federated": OURS, "local": of(0.95, 0.9, 1.0)}
    assert best(models, {"local": less(-0.05, -0.08, -0.02)}) == "local"


def test_it_must_be_better_than_every_one_and_not_only_than_the_second() -> None:
    models = {"federated": OURS, "local": of(0.85, 0.8, 0.9), "atlas": of(0.8, 0.5, 1.0)}
    surely, perhaps = less(0.05, 0.01, 0.09), less(0.1, -0.1, 0.3)
    assert best(models, {"local": surely, "atlas": perhaps}) == ""
    assert best(models, {"local": surely, "atlas": surely}) == "federated"


def test_of_two_others_the_intervals_must_be_apart() -> None:
    ahead = less(-0.1, -0.15, -0.05)
    apart = {"federated": of(0.7, 0.6, 0.75), "a": of(0.9, 0.86, 0.95), "b": of(0.8, 0.75, 0.85)}
    touching = {**apart, "b": of(0.8, 0.75, 0.87)}
    assert best(apart, {"a": ahead, "b": ahead}) == "a"
    assert best(touching, {"a": ahead, "b": ahead}) == ""


def test_nothing_is_called_better_with_fewer_than_six_patients_or_alone() -> None:
    surely = {"local": less(0.5, 0.4, 0.6)}
    assert best({"federated": of(0.9, 0.8, 1.0, 5), "local": of(0.4, 0.3, 0.5, 5)}, surely) == ""
    assert best({"federated": of(0.9, 0.8, 1.0, 6), "local": of(0.4, 0.3, 0.5, 6)}, surely) == "federated"
    assert best({"federated": OURS}, {}) == ""


def test_every_training_must_be_better_than_every_one_of_the_other() -> None:
    trained = {"auroc": {"means": [0.9, 0.84], "mean": 0.87, "ci95": [0.8, 0.9]}}
    theirs = {"auroc": {"means": [0.8, 0.85], "mean": 0.82, "ci95": [0.8, 0.9]}}
    surely = {"local": less(0.05, 0.01, 0.09)}
    models = {"federated": {**OURS, "trainings": trained}, "local": {**of(0.85, 0.75, 0.95), "trainings": theirs}}
    assert best(models, surely) == ""
    assert best(models, surely, everybody=False) == "federated"  # of a site's patients nobody knows the trainings
    theirs["auroc"]["means"] = [0.8, 0.83]
    assert best(models, surely) == "federated"


@pytest.mark.parametrize("gap", [-0.05, 0.0002, 0.05])
@pytest.mark.parametrize("patients", [5, 6])
@pytest.mark.parametrize("means", [[], [0.9, 0.84], [0.9, 0.86]])
def test_bold_in_a_paper_is_what_the_report_calls_better_or_worse(
    gap: float, patients: int, means: list[float]
) -> None:
    trained = {"trainings": {"auroc": {"means": means, "mean": 0.87, "ci95": [0.8, 0.9]}}} if means else {}
    ours, theirs = {**of(0.85 + gap, 0.7, 1.0, patients), **trained}, of(0.85, 0.75, 0.95, patients)
    found = less(gap, gap - 0.0001, gap + 0.0001)
    told = {"all": {"auroc": found.model_dump()}, "kinds": {}, "sites": {}}
    results = run_results(evaluation={"federated": ours, "local": theirs}, differences={"local": told})
    bold = best({"federated": ours, "local": theirs}, {"local": found})
    undecided = "tied" if patients == 6 else "too few"
    assert verdict(results, "local", "auroc") == {"federated": "better", "local": "worse", "": undecided}[bold]
