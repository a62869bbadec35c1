"""Better, worse or tied, where the interval of the mean and the test of ranks agree, and where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from normfed_common.metrics.subjects import PairedTest, wilcoxon_holm
from normfed_server.report.verdicts import Verdict, judged, objection
from normfed_server.results.figures import Difference

ABOVE = Difference(mean=0.1, n=20, ci95=(0.05, 0.15))
BELOW = Difference(mean=-0.1, n=20, ci95=(-0.15, -0.05))
OPEN = Difference(mean=0.1, n=20, ci95=(-0.05, 0.25))


def test_a_mean_that_a_few_patients_make_is_a_tie_where_most_are_on_the_other_side() -> None:
    gained = np.r_[np.full(38, -0.01), np.full(6, 0.45)]
    ends = bootstrap((gained,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    found = Difference(mean=gained.mean(), n=44, ci95=(ends.low, ends.high))
    test = wilcoxon_holm(gained, {"other": np.zeros(44)})["other"]
    assert ends.low > 0
    assert test.p < 0.05
    assert judged(found, 44) == "better"
    assert judged(found, 44, test=test) == "tied"
    assert objection(found, test).startswith("the paired test points the other way, p = 0.00")


@pytest.mark.parametrize(
    ("difference", "test", "higher_is_better", "expected"),
    [
        (ABOVE, PairedTest(0.049, 1), True, "better"),
        (ABOVE, PairedTest(0.049, 1), False, "worse"),
        (ABOVE, PairedTest(0.049, -1), True, "tied"),
        (ABOVE, PairedTest(0.049, -1), False, "tied"),
        (ABOVE, PairedTest(0.05, 1), True, "tied"),
        (BELOW, PairedTest(0.049, -1), True, "worse"),
        (BELOW, PairedTest(0.049, -1), False, "better"),
        (BELOW, PairedTest(0.049, 1), True, "tied"),
        (OPEN, PairedTest(0.001, 1), True, "tied"),
        (OPEN, PairedTest(0.001, -1), True, "tied"),
    ],
)
def test_the_interval_and_the_test_must_point_the_same_way(
    difference: Difference, test: PairedTest, higher_is_better: bool, expected: Verdict
) -> None:
    assert judged(difference, 20, test=test, higher_is_better=higher_is_better) == expected


@pytest.mark.parametrize(
    ("difference", "test", "said"),
    [
        (ABOVE, None, ""),
        (ABOVE, PairedTest(0.049, 1), ""),
        (OPEN, PairedTest(0.5, 1), ""),
        (BELOW, PairedTest(0.05, -1), "p = 0.050 by the paired test"),
        (BELOW, PairedTest(0.0004, 1), "the paired test points the other way, p < 0.001"),
    ],
)
def test_what_makes_a_tie_of_a_difference_beyond_its_interval_is_said(
    difference: Difference, test: PairedTest | None, said: str
) -> None:
    assert objection(difference, test) == said
