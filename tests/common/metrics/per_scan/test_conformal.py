"""A person's p-value among normal people, and where it is not told."""

from __future__ import annotations

import math

import numpy as np

from normfed_common.metrics.base import NormalPeople, ScoredScan
from normfed_common.metrics.per_scan.conformal import METRICS

(METRIC,) = METRICS
# 4 normal people below 1, 3 between 1 and 2, 2 from 2 on.
CALIBRATION = NormalPeople(np.array([1.0, 2.0]), np.array([4, 3, 2]))


def p_value(score: float, calibration: NormalPeople | None = CALIBRATION) -> float:
    nothing = np.zeros((2, 2, 2))
    whole = nothing.astype(bool)
    return METRIC(ScoredScan(nothing, whole, whole, 1.0, told_score=score, calibration=calibration))


def test_it_is_the_share_of_people_who_score_as_high_with_the_person_among_them() -> None:
    assert [p_value(score) for score in (0.5, 1.5, 2.5)] == [(1 + 9) / 10, (1 + 5) / 10, (1 + 2) / 10]
    assert METRIC.name == "conformal_p"
    assert not METRIC.higher_is_better  # a small p-value finds a patient


def test_it_is_not_defined_for_a_score_that_is_not_told_or_without_anybody_to_compare_with() -> None:
    assert math.isnan(p_value(math.nan))
    assert math.isnan(p_value(1.5, None))
    assert math.isnan(p_value(1.5, NormalPeople(CALIBRATION.edges, np.zeros(3, int))))
