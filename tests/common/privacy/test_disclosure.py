"""What the rules of disclosure leave: slow second implementations, and what each of them must never say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.privacy import disclosure

PRESENT = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=10))


@given(PRESENT, st.integers(2, 5), st.data())
def test_weights_are_merged_as_counts_are_and_keep_their_sum(
    present: np.ndarray, minimum: int, data: st.DataObject
) -> None:
    weights = np.where(present, data.draw(hnp.arrays(float, present.shape, elements=st.floats(0.1, 1))), 0.0)
    told = disclosure.merged_bins(weights.sum(0), present, minimum)
    assert told.dtype == np.float64
    if present.any(1).sum() >= minimum:
        assert told.sum() == pytest.approx(weights.sum())
    else:
        assert not told.any()


@given(PRESENT, st.integers(2, 5))
def test_the_upper_runs_are_as_short_as_the_minimum_allows(present: np.ndarray, minimum: int) -> None:
    told = disclosure.merged_bins(present.sum(0), present, minimum)
    starts = [*np.flatnonzero(told), present.shape[1]]
    for begin, end in pairwise(starts[1:]):
        assert present[:, begin + 1 : end].any(1).sum() < minimum


@given(hnp.arrays(int, st.integers(0, 12), elements=st.integers(0, 2)))
def test_a_run_reaches_to_the_bin_before_the_next(told: np.ndarray) -> None:
    """What stands in the lowest bin of each run, moved up until another run begins."""
    expected = np.zeros_like(told)
    for place, value in enumerate(told):
        if value:
            end = place
            while end + 1 < len(told) and not told[end + 1]:
                end += 1
            expected[end] = value
    np.testing.assert_array_equal(disclosure.reach(told), expected)


@given(hnp.arrays(float, st.integers(1, 30), elements=st.integers(0, 8)), st.integers(2, 6))
def test_every_told_score_is_shared_by_the_minimum_and_keeps_the_order(scores: np.ndarray, minimum: int) -> None:
    told = disclosure.microaggregated(scores, minimum)
    _, shared = np.unique(told, return_counts=True)
    assert shared.min() >= min(minimum, len(scores))
    assert told.sum() == pytest.approx(scores.sum())
    order = np.argsort(scores, kind="stable")
    assert (np.diff(told[order]) >= -1e-12).all()


def test_nobody_has_no_score() -> None:
    assert len(disclosure.microaggregated(np.array([]), 3)) == 0


RANGES = st.integers(3, 12).flatmap(
    lambda people: st.tuples(
        hnp.arrays(float, people, elements=st.floats(-3, 0)), hnp.arrays(float, people, elements=st.floats(50, 99))
    )
)


@given(RANGES, st.integers(2, 3))
def test_the_range_is_rounded_outwards_by_less_than_a_sixty_fourth(
    ends: tuple[np.ndarray, np.ndarray], minimum: int
) -> None:
    lows, highs = ends
    low, high = disclosure.common_range(lows, highs, minimum)
    inner_low, inner_high = sorted(lows)[minimum - 1], sorted(highs, reverse=True)[minimum - 1]
    assert 0 <= inner_low - low <= (inner_high - inner_low) / 64
    assert 0 <= high - inner_high <= (inner_high - inner_low) / 64
    for end in (low, high):  # on a grid of powers of two, on which no measured score lies but by chance
        assert end / 2.0 ** np.floor(np.log2((inner_high - inner_low) / 64)) % 1 == 0


@given(RANGES, st.integers(2, 3), st.floats(0, 40))
def test_the_range_does_not_change_with_the_one_who_stands_out(
    ends: tuple[np.ndarray, np.ndarray], minimum: int, further: float
) -> None:
    lows, highs = ends
    outlying_lows, outlying_highs = lows.copy(), highs.copy()
    outlying_lows[lows.argmin()] -= further
    outlying_highs[highs.argmax()] += further
    assert disclosure.common_range(outlying_lows, outlying_highs, minimum) == disclosure.common_range(
        lows, highs, minimum
    )


def test_scores_that_are_all_alike_are_a_range_of_one_point() -> None:
    assert disclosure.common_range(np.full(4, 2.0), np.full(4, 2.0), 3) == (2.0, 2.0)


def test_fewer_people_than_the_minimum_are_taken_together() -> None:
    """The ends that all of them reach."""
    low, high = disclosure.common_range(np.array([0.0, 1.0]), np.array([128.0, 129.0]), 5)
    assert (low, high) == (1.0, 128.0)
