"""Figures of single patients: their numbers against closed forms and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from normfed_simulation.paper import agreement
from normfed_simulation.paper.agreement import BINS, groups, limits


def volumes(drawn: list[float], found: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"lesion_ml": drawn, "found_ml": found, "kind": ["MS", "WMH"] * (len(drawn) // 2)})


def lesions(sizes: np.ndarray, found: np.ndarray, patients: int) -> pd.DataFrame:
    names = [f"sub-{number % patients}" for number in range(len(sizes))]
    return pd.DataFrame({"site": "a", "name": names, "ml": sizes, "found": found.astype(bool)})


def lines(figure: Any) -> list[float]:
    """Heights of the horizontal lines of a figure's only panel."""
    (axes,) = figure.axes
    across = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    return sorted(line.get_ydata()[0] for line in across)


def test_limits_of_agreement_are_those_of_bland_and_altman() -> None:
    # Differences of peak flow by two meters, Bland & Altman 1986, table 1: first measurements of 17 people.
    wright = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427])
    mini = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451])
    middle, low, high = limits(wright - mini)
    assert middle == pytest.approx(-2.1, abs=0.05)
    assert (high - middle) / agreement.LIMITS == pytest.approx(38.8, abs=0.05)
    assert middle - low == pytest.approx(high - middle)


def test_the_plot_has_the_mean_difference_and_its_limits() -> None:
    drawn, found = [1.0, 2.0, 3.0, 40.0, 5.0, 6.0, 0.0, 0.0], [2.0, 2.0, 1.0, 44.0, 5.0, 7.0, 9.0, 9.0]
    figure = agreement.agreement(volumes(drawn, found))
    differences = np.subtract(found, drawn)[:6]  # not of patients without a lesion
    middle, low, high = limits(differences)
    assert lines(figure) == pytest.approx([low, middle, high])
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert all(label.xy[0] > 1 for label in axes.texts)  # beside the panel, where no point is
    assert sorted(label.get_text().split("\n")[1] for label in axes.texts) == ["+0.7", "+4.5", "−3.2"]
    assert not any("-" in label.get_text() for label in axes.texts)


def test_too_few_patients_are_not_drawn() -> None:
    assert agreement.agreement(volumes([1.0] * 4 + [0.0] * 4, [1.0] * 8)) is None
    few = np.full(5, 0.5)
    assert agreement.paired(few, few, ["MS"] * 5, "AUROC", "atlas", 0.5) is None
    assert agreement.sizes(lesions(np.ones(5), np.ones(5), 5)) is None


def test_pairs_are_counted_without_those_that_one_model_has_no_figure_of() -> None:
    ours = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.9, np.nan])
    theirs = np.array([0.5, 0.8, 0.6, 0.5, 0.6, 0.3, np.nan, 0.1])
    figure = agreement.paired(ours, theirs, ["MS"] * 8, "AUROC", "atlas", 0.0002)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_title() == "federated higher in 4 of 6 patients, p < 0.001"
    points = next(line for line in axes.lines if line.get_label() == "MS")
    np.testing.assert_allclose(points.get_xydata(), np.stack([theirs, ours], -1)[:6])


def test_lesions_are_grouped_by_size_and_every_one_counts_once() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.lognormal(0, 2, 83)
    found = rng.random(83) < 1 / (1 + 1 / sizes)
    by_size = groups(lesions(sizes, found, 12))
    order = np.argsort(sizes)
    parts = np.array_split(order, BINS)
    assert [group[4] for group in by_size] == [len(part) for part in parts]
    for (size, share, low, high, _), part in zip(by_size, parts, strict=True):
        assert size == pytest.approx(np.median(sizes[part]))
        assert share == pytest.approx(found[part].mean())
        assert low <= share <= high


def test_lesions_of_one_patient_go_together() -> None:
    """All lesions of half of the patients are found: over patients that is less sure than over lesions."""
    sizes = np.ones(200)
    found = np.arange(200) % 4 < 2
    ((_, _, low, high, _), *_) = groups(lesions(sizes, found, 4).head(40))
    alone = 2 * 1.96 * (0.25 / 40) ** 0.5
    assert high - low > 2 * alone
