"""What the rules of disclosure leave: slow second implementations, and what each of them must never say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lesions import merged

from normfed_common.learning.setting import Places
from normfed_common.privacy import cubes, disclosure

PRESENT = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=10))


counts = hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))


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


@given(counts, st.integers(2, 5))
def test_no_merged_bin_tells_of_few_people_and_nothing_is_lost(per_person: np.ndarray, minimum: int) -> None:
    told = disclosure.merged_bins(per_person.sum(0), per_person > 0, minimum)
    starts = np.flatnonzero(told)
    if len(starts) == 0:
        assert (per_person.any(1)).sum() < minimum
        return
    assert starts[0] == 0
    for begin, end in zip(starts, np.append(starts[1:], per_person.shape[1]), strict=True):
        inside = per_person[:, begin:end]
        assert told[begin] == inside.sum()
        assert inside.any(1).sum() >= minimum
    np.testing.assert_array_equal(disclosure.merged_bins(per_person.sum(0), per_person > 0, 1), per_person.sum(0))


GROUPED = counts.flatmap(
    lambda found: st.tuples(st.just(found), hnp.arrays(int, len(found), elements=st.integers(0, 1)))
)


@given(GROUPED, st.integers(2, 3))
def test_no_merged_bin_tells_of_few_people_of_a_group(drawn: tuple[np.ndarray, np.ndarray], minimum: int) -> None:
    """With one of which all have the same known scores, the rest of a bin would be about those of the other alone."""
    per_person, groups = drawn
    told = disclosure.merged_bins(per_person.sum(0), per_person > 0, minimum, groups)
    starts = np.flatnonzero(told)
    having = [int(per_person[groups == group].any(1).sum()) for group in (0, 1)]
    assert bool(len(starts)) == (any(having) and all(count == 0 or count >= minimum for count in having))
    if len(starts) == 0:
        return
    assert starts[0] == 0
    for begin, end in zip(starts, np.append(starts[1:], per_person.shape[1]), strict=True):
        inside = per_person[:, begin:end]
        assert told[begin] == inside.sum()
        for group in (0, 1):
            assert inside[groups == group].any(1).sum() in (0, *range(minimum, len(groups) + 1))


@given(GROUPED, st.integers(1, 4))
def test_one_group_is_as_none(drawn: tuple[np.ndarray, np.ndarray], minimum: int) -> None:
    per_person, same = drawn[0], np.full(len(drawn[0]), 7)
    found, scores = (per_person.sum(0), per_person > 0, minimum), per_person.sum(1).astype(float)
    np.testing.assert_array_equal(disclosure.merged_bins(*found, same), disclosure.merged_bins(*found))
    told = [disclosure.microaggregated(scores, minimum, groups) for groups in (same, None)]
    np.testing.assert_array_equal(*told)
    ranges = [disclosure.common_range(-scores, scores, minimum, groups) for groups in (same, None)]
    assert ranges[0] == ranges[1]


def test_told_scores_and_ranges_are_those_of_enough_people_of_a_group() -> None:
    scores, groups = np.array([0.0, 1, 2, 3, 50, 51]), np.array([0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(disclosure.microaggregated(scores, 3, groups), [1, 1, 1, *[(3 + 50 + 51) / 3] * 3])
    low, high = disclosure.common_range(scores, scores + 1, 2, groups)
    assert 0 < low <= 1  # in the first group two reach it
    assert 51 <= high < 52


@given(counts, counts, st.integers(2, 4))
def test_the_bracket_of_merged_bins_holds_what_the_bins_would_give(a: np.ndarray, b: np.ndarray, minimum: int) -> None:
    bins = min(a.shape[1], b.shape[1])
    normal, lesion = a[:, :bins], b[:, :bins]
    told = [disclosure.merged_bins(part.sum(0), part > 0, minimum) for part in (normal, lesion)]
    if not all(array.any() for array in told):
        return
    low = merged(disclosure.reach(told[0]), told[1], told[1].astype(float))
    high = merged(told[0], disclosure.reach(told[1]), disclosure.reach(told[1]).astype(float))
    exact = merged(normal.sum(0), lesion.sum(0), lesion.sum(0).astype(float))
    for metric in ("auroc", "auprc", "best_dice"):
        assert low[metric].low <= exact[metric].low + 1e-12
        assert exact[metric].high <= high[metric].high + 1e-12


@given(hnp.arrays(float, st.integers(1, 30), elements=st.floats(0, 100)), st.integers(2, 6))
def test_scores_are_told_as_means_of_groups_of_neighbours(scores: np.ndarray, minimum: int) -> None:
    told = disclosure.microaggregated(scores, minimum)
    assert told.mean() == pytest.approx(scores.mean())
    ordered = np.sort(scores)
    groups = np.array_split(ordered, max(len(scores) // minimum, 1))
    assert all(len(group) >= min(minimum, len(scores)) for group in groups)
    np.testing.assert_allclose(np.sort(told), np.sort(np.repeat([g.mean() for g in groups], [len(g) for g in groups])))
    np.testing.assert_array_equal(disclosure.microaggregated(scores, 1), scores)


@given(
    hnp.arrays(float, st.integers(6, 30), elements=st.floats(0, 10)),
    hnp.arrays(float, st.integers(6, 30), elements=st.floats(20, 100)),
    st.integers(2, 6),
)
def test_enough_people_reach_either_end_of_the_range(lows: np.ndarray, highs: np.ndarray, minimum: int) -> None:
    people = min(len(lows), len(highs))
    lows, highs = lows[:people], highs[:people]
    low, high = disclosure.common_range(lows, highs, minimum)
    step = (np.sort(highs)[-minimum] - np.sort(lows)[minimum - 1]) / 32
    assert (lows <= low + step).sum() >= minimum
    assert (highs >= high - step).sum() >= minimum
    assert disclosure.common_range(lows, highs, 1) == (lows.min(), highs.max())


def test_the_ends_of_a_range_are_not_those_of_the_one_who_stands_out() -> None:
    lows, highs = np.array([-50.0, 0, 0.1, 0.2]), np.array([1.0, 1.1, 1.2, 90])
    low, high = disclosure.common_range(lows, highs, 3)
    assert -0.2 < low <= 0.1
    assert 1.1 <= high < 1.4


@pytest.mark.parametrize("layout", ["last", "first flat", "first"])
def test_cubes_hold_the_mean_of_their_places(layout: str) -> None:
    rng, shape = np.random.default_rng(1), (5, 4, 7)
    places = Places(shape, 2.0, beside=("entries",))
    grid = rng.random((3, *shape))
    given_array = {"last": grid, "first flat": grid.reshape(3, -1).T, "first": np.moveaxis(grid, 0, -1)}[layout]
    found = cubes.averaged({"sum": given_array, "entries": np.array(4.0)}, places, 5.0)  # three voxels of 2 mm
    assert found["entries"] == 4.0
    back = {
        "last": found["sum"],
        "first flat": found["sum"].T.reshape(3, *shape),
        "first": np.moveaxis(found["sum"], -1, 0),
    }[layout]
    for x in (0, 3):
        for y in (0, 3):
            for z in (0, 3, 6):
                cube = (slice(None), slice(x, x + 3), slice(y, y + 3), slice(z, z + 3))
                expected = grid[cube].mean((1, 2, 3), keepdims=True)
                np.testing.assert_allclose(back[cube], np.broadcast_to(expected, back[cube].shape))
    assert cubes.averaged({"sum": given_array}, places, 2.0)["sum"] is given_array


@pytest.mark.parametrize(
    ("shares", "minimum", "few"),
    [
        ([1, 1, 1, 1], 4, False),
        ([1, 0, 0, 0], 4, True),
        ([1, 1, 1, 0], 4, True),
        ([1, 1, 1, 1e-3], 4, True),
        ([1, 1, 1, 0.3], 4, False),
        ([9, 1, 1, 1], 2, True),
        ([1, 1, 0, 0, 0, 0, 0, 0], 2, False),
        ([1, 1, 1, 0, 0, 0, 0, 0], 4, True),
        ([0, 0, 0, 0], 4, False),
        ([1, 0, 0, 0], 1, False),
        ([1, 1], 4, True),
    ],
)
def test_a_part_is_as_good_as_few_peoples_where_all_others_have_next_to_nothing(
    shares: list[float], minimum: int, few: bool
) -> None:
    assert disclosure.concentrated(np.array(shares, float)[:, None], minimum).tolist() == [few]
