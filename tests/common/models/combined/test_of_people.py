"""What leaves of scores that a server made up: nothing is one person's, and with a minimum of 1 all is exact."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.foundation.arrays import Arrays
from normfed_common.models.combined.of_people import OfPeople

SCALE = {"count": (1,), "sum": (1,)}
BOTH = np.array([True, True])


def scale(means: list[float], minimum: int) -> Arrays:
    """Of people with ten voxels each."""
    everybody = OfPeople(SCALE, minimum)
    for mean in means:
        everybody.take({"count": np.array([10.0]), "sum": np.array([10 * mean])}, BOTH)
    return everybody.told()


def test_a_site_that_hides_nothing_tells_the_sum() -> None:
    assert scale([1.0, 2.0, 6.123], 1)["sum"] == pytest.approx(91.23)


@pytest.mark.parametrize("others", [0.0, 2.0])
@pytest.mark.parametrize("one", [1e-3, 1e3])
def test_a_mean_that_is_one_persons_because_all_others_are_alike_is_not_told(others: float, one: float) -> None:
    assert scale([others] * 5 + [one], 4)["sum"] == pytest.approx(60 * others)


def test_the_middle_is_told_in_two_digits() -> None:
    assert scale([0.1, 1.23456, 9.0], 2)["sum"] == pytest.approx(30 * 1.2)


def test_a_member_that_scored_nobody_has_no_sum() -> None:
    everybody = OfPeople(SCALE, 2)
    everybody.take({"count": np.zeros(1), "sum": np.zeros(1)}, BOTH)
    assert everybody.told()["sum"] == 0


@pytest.mark.parametrize(("minimum", "expected"), [(1, [3, 0, 2, 1]), (2, [3, 0, 3, 0]), (3, [6, 0, 0, 0])])
def test_bins_of_few_people_are_merged(minimum: int, expected: list[int]) -> None:
    everybody = OfPeople({"counts": (1, 1, 4)}, minimum)
    for row in ([1, 0, 2, 0], [1, 0, 0, 1], [1, 0, 0, 0]):
        everybody.take({"counts": np.array(row, float).reshape(1, 1, 4)}, BOTH)
    np.testing.assert_array_equal(everybody.told()["counts"][0, 0], expected)


def test_few_of_those_with_the_same_modalities_are_not_told_among_others() -> None:
    """A made-up member scores all without a modality alike."""
    everybody = OfPeople({"counts": (1, 1, 2)}, 2)
    for row, has in (([1, 0], True), ([1, 0], True), ([0, 1], False), ([0, 1], True), ([0, 1], True)):
        everybody.take({"counts": np.array(row, float).reshape(1, 1, 2)}, np.array([True, has]))
    assert not everybody.told()["counts"].any()
