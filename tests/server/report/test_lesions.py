"""A map is precise for a kind of lesion, partly, hardly or not, by intervals; of few patients nothing is made."""

from __future__ import annotations

from typing import Any

import pytest

from normfed_server.report.lesions import PARTLY, PRECISE, few, in_words, level
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import Figure, Figures

SURE = (0.9, 0.99)


def figures(auroc: Any, precision: Any, n: int = 9) -> Figures:
    """Of intervals, with the mean in their midst."""

    def figure(ends: Any) -> Figure:
        known = ends is not None and None not in ends
        return Figure(mean=sum(ends) / 2 if known else 0.5, sd=0.1, n=n, ci95=ends)

    return {"auroc": figure(auroc), "auprc": figure(precision)}


@pytest.mark.parametrize(
    ("auroc", "precision", "expected"),
    [
        (SURE, (PRECISE, 0.9), "precise"),
        (SURE, (PRECISE - 0.001, 0.99), "partly"),  # whatever the mean
        (SURE, (PARTLY, 0.2), "partly"),
        (SURE, (PARTLY - 0.001, 0.9), "hardly"),
        ((0.5, 0.9), (0.9, 0.95), "not"),  # an interval that touches chance decides nothing
        ((0.1, 0.4), (0.9, 0.95), "not"),
        (SURE, None, None),
        (SURE, (None, None), None),
        (None, (0.9, 0.95), None),
    ],
)
def test_the_level_is_read_from_the_lower_ends_of_both_intervals(
    auroc: Any, precision: Any, expected: str | None
) -> None:
    assert level(figures(auroc, precision)) == expected
    assert level(figures(auroc, precision, FEWEST_PATIENTS)) == expected
    assert level(figures(auroc, precision, FEWEST_PATIENTS - 1)) is None


def test_kinds_stand_with_the_most_precise_first() -> None:
    kinds = {
        "WMH": figures(SURE, (0.8, 0.9)),
        "tumour": figures(SURE, (0.9, 0.96)),
        "MS": figures(SURE, (0.1, 0.3)),
        "FCD": figures((0.4, 0.6), (0.0, 0.1)),
        "stroke": figures(SURE, (0.01, 0.05)),
    }
    assert in_words(kinds) == "precise for tumours and WMH, partly for MS, hardly for stroke and not for FCD"
    assert in_words({"FCD": kinds["FCD"]}) == "not precise for FCD"


def test_of_kinds_with_few_patients_only_how_many_is_said() -> None:
    kinds = {"WMH": figures(SURE, (0.8, 0.9), 5), "MS": figures(SURE, (0.8, 0.9), 6)}
    assert few(kinds) == ["Too few patients to say more of WMH (5)."]
    assert in_words(kinds) == "precise for MS"
    assert few({}) == few({"WMH": {}}) == []
    assert in_words({"WMH": {}}) == ""
