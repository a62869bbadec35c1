"""Verdicts on single figures, and figures of whole people against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from normfed_server.results.figures import Figure
from normfed_simulation.reproduction.comparing import compared
from normfed_simulation.reproduction.figures import DETECTED, MEAN_RANK, best_g_mean, detections, of_values
from normfed_simulation.reproduction.recipe import PublishedFigure, Row

OURS = Figure(mean=0.7, sd=0.1, n=58, ci95=(0.66, 0.74))


def verdict(
    published: PublishedFigure,
    ours: Figure | None = OURS,
    look_alike: bool = False,
    never: str | None = None,
    not_run: str | None = None,
) -> tuple[str, str, float | None]:
    row = Row(name="r", source="s", figures={"auroc": published}, not_comparable=never)
    (figure,) = compared(row, {} if ours is None else {"auroc": ours}, look_alike, not_run).figures
    return figure.verdict, figure.why, figure.difference


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        (PublishedFigure(value=0.75, sd=0.05, n=60), ("within", "the published sd")),
        (PublishedFigure(value=0.76, sd=0.05, n=60), ("outside", "the published sd")),
        (PublishedFigure(value=0.73), ("within", "our 95 % interval")),
        (PublishedFigure(value=0.75), ("outside", "our 95 % interval")),
        (PublishedFigure(low=0.03, high=0.65), ("outside", "the published range")),
        (PublishedFigure(low=0.03, high=0.75), ("within", "the published range")),
        (PublishedFigure(value=0.7, sd=0.1, n=12), ("not comparable", "58 people, published 12")),
        (PublishedFigure(value=0.7, sd=0.1, n=90), ("not comparable", "58 people, published 90")),
    ],
)
def test_a_figure_is_within_or_outside_of_what_is_known_of_the_published_one(
    published: PublishedFigure, expected: tuple[str, str]
) -> None:
    assert verdict(published)[:2] == expected


@pytest.mark.parametrize("n", [1, 5])
def test_of_fewer_than_six_people_nothing_is_said(n: int) -> None:
    few = Figure(mean=0.7, sd=0.1, n=n, ci95=(0.1, 0.9))
    assert verdict(PublishedFigure(value=0.7, sd=0.1), few)[:2] == ("not comparable", f"{n} people are too few")


def test_made_up_data_reproduce_nothing_however_near_they_come() -> None:
    exact = PublishedFigure(value=0.7, sd=0.1, n=58)
    assert verdict(exact)[0] == "within"
    assert verdict(exact, look_alike=True) == ("not comparable", "made-up data", 0.0)


def test_what_can_never_be_compared_says_why_and_still_shows_the_difference() -> None:
    found = verdict(PublishedFigure(value=0.6, sd=0.2), never="other patients")
    assert found[:2] == ("not comparable", "other patients")
    assert found[2] == pytest.approx(0.1)


def test_nothing_of_ours_is_not_comparable_and_why() -> None:
    assert verdict(PublishedFigure(value=0.6), None, not_run="no --data x=DIR")[:2] == (
        "not comparable",
        "no --data x=DIR",
    )
    assert verdict(PublishedFigure(value=0.6), Figure(mean=None, sd=None, n=0))[0] == "not comparable"


def test_counts_are_equal_or_not_of_however_few_people() -> None:
    row = Row(name="r", source="s", figures={"people": PublishedFigure(value=4), "detected": PublishedFigure(value=5)})
    count = Figure(mean=4.0, sd=None, n=4)
    found = compared(row, {"people": count, "detected": count}, False, None).figures
    assert [figure.verdict for figure in found] == ["within", "outside"]


def test_an_interval_without_width_is_none() -> None:
    """Of one patient per site every resampling is the same."""
    row = Row(name="r", source="s", figures={"auroc": PublishedFigure(value=0.7)})
    (found,) = compared(row, {"auroc": Figure(mean=0.7, sd=0.1, n=8, ci95=(0.7, 0.7))}, False, None).figures
    assert found.ci95 is None


def test_the_best_g_mean_is_that_of_the_roc_curve() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        controls, patients = rng.integers(0, 9, 7) / 4, rng.integers(0, 9, 5) / 4 + 0.3  # nobody ties with a control
        p_values = [(1 + (controls >= score).sum()) / (1 + len(controls)) for score in patients]
        fpr, tpr, _ = roc_curve([0] * 7 + [1] * 5, [*controls, *patients], drop_intermediate=False)
        assert best_g_mean(p_values, len(controls)) == pytest.approx(np.sqrt(tpr * (1 - fpr)).max())
    assert best_g_mean([], 3) is None
    assert best_g_mean([None, 0.5], 0) is None


def test_detections_count_patients_and_ranks_are_of_those_who_are_detected() -> None:
    found = detections([{"cluster_rank": 3.0}, {"cluster_rank": None}, {"cluster_rank": 1.0}, {}])
    assert (found[DETECTED].mean, found[DETECTED].n) == (2, 4)
    assert (found[MEAN_RANK].mean, found[MEAN_RANK].n) == (2.0, 2)
    assert MEAN_RANK not in detections([{"cluster_rank": None}])


def test_the_interval_over_people_is_students() -> None:
    found = of_values([0.2, 0.4, 0.6, 0.2, 0.4, 0.6])
    assert (found.mean, found.n) == (pytest.approx(0.4), 6)
    error = (4 * 0.2**2 / 5) ** 0.5 / 6**0.5
    assert found.ci95 == pytest.approx((0.4 - 2.570582 * error, 0.4 + 2.570582 * error))
    assert of_values([0.2, 0.4, 0.6]).ci95 is None
    assert of_values([0.3]).ci95 is None
