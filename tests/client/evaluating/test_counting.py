"""What a hospital tells of classes of place, and at which thresholds: of nobody or of enough people, always."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normfed_client.evaluating.counting import ClassHistograms, Extremes
from normfed_common.metrics import histograms
from normfed_common.metrics.tissue import CLASSES

MINIMUM = 3
Everybody = dict[str, tuple[np.ndarray, np.ndarray]]


def people(seed: int, count: int, absent: float) -> Everybody:
    """Scores in [0, 1] and classes of each person's voxels; some lack a class, and few score high."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(count):
        classes = rng.integers(len(CLASSES), size=40)
        classes[np.isin(classes, np.flatnonzero(rng.random(len(CLASSES)) < absent))] = 0
        scores = (rng.random(40) ** rng.integers(1, 9)).astype(np.float32)
        found[f"p{number}"] = scores, classes
    return found


def told(everybody: Everybody, minimum: int, groups: dict[str, int]) -> np.ndarray:
    histogram = ClassHistograms(0.0, 1.0, minimum, groups)
    for person, (scores, classes) in everybody.items():
        histogram.add(person, scores, classes)
    return histogram.told()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([0.0, 0.5, 0.9]), st.booleans())
def test_no_bin_of_a_class_tells_of_fewer_people_than_the_minimum_of_any_group(
    seed: int, count: int, absent: float, two_groups: bool
) -> None:
    everybody = people(seed, count, absent)
    groups = {person: number % 2 if two_groups else 0 for number, person in enumerate(everybody)}
    for number, row in enumerate(told(everybody, MINIMUM, groups)):
        starts = np.flatnonzero(row)
        bins = np.stack(
            [histograms.coarse_counts(scores[classes == number], 0.0, 1.0) for scores, classes in everybody.values()]
        )
        assert row.sum() in (0, bins.sum())
        for start, end in pairwise([*starts, histograms.COARSE_BINS]):
            whose = bins[:, start:end].any(1)
            assert row[start] == bins[:, start:end].sum()
            for group in set(groups.values()):
                among = sum(whose[place] for place, person in enumerate(everybody) if groups[person] == group)
                assert among == 0 or among >= MINIMUM


def test_all_classes_together_are_the_whole_brain_where_nothing_is_merged() -> None:
    everybody = people(1, 5, 0.0)
    found = told(everybody, 1, {})
    whole = histograms.coarse_counts(np.concatenate([scores for scores, _ in everybody.values()]), 0.0, 1.0)
    np.testing.assert_array_equal(found.sum(0), whole)


def test_of_a_class_of_few_people_nothing_is_told_and_nothing_else_has_its_voxels() -> None:
    """Else the difference of two sums that should be alike would be those few people's."""
    everybody = {name: (scores, np.zeros_like(classes)) for name, (scores, classes) in people(2, 6, 0.0).items()}
    scores, classes = everybody["p0"]
    everybody["p0"] = scores, np.where(np.arange(len(classes)) < 10, 1, classes)
    found = told(everybody, MINIMUM, dict.fromkeys(everybody, 0))
    assert not found[1:].any()
    assert found.sum() == 6 * 40 - 10


def reached(everybody: Everybody, number: int, level: float) -> tuple[set[str], set[str]]:
    """Who has a voxel of a class at or above a level, and who below it."""
    parts = {
        person: scores if number == len(CLASSES) else scores[classes == number]
        for person, (scores, classes) in everybody.items()
    }
    return {p for p, s in parts.items() if (s >= level).any()}, {p for p, s in parts.items() if (s < level).any()}


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.97, 0.99]), min_size=4, max_size=4),
)
def test_no_threshold_is_reached_or_missed_by_few_people_of_a_group(
    seed: int, absent: float, levels: list[float]
) -> None:
    everybody = people(seed, 8, absent)
    names = list(everybody)
    groups = [frozenset(names), frozenset(names[:4]), frozenset(names[4:])]
    found = settled(everybody, levels, groups)
    for number, level in enumerate(found):
        above, below = reached(everybody, number, level)
        for group in groups:
            assert len(above & group) == 0 or len(above & group) >= MINIMUM
            if above:  # where nothing is abnormal, nothing depends on who is below
                assert len(below & group) == 0 or len(below & group) >= MINIMUM


def settled(everybody: Everybody, levels: list[float], groups: list[frozenset[str]]) -> np.ndarray:
    extremes = Extremes()
    for person, (scores, classes) in everybody.items():
        extremes.add(person, scores, classes)
    return extremes.settled(np.array([*levels, max(levels)]), groups, MINIMUM)


@pytest.mark.parametrize("number", range(len(CLASSES)))
def test_where_the_highest_scores_of_single_people_lie_cannot_be_found_by_moving_a_threshold(number: int) -> None:
    """Between the third highest and any other level beyond it nothing changes."""
    everybody = people(3, 8, 0.0)
    tops = sorted(scores[classes == number].max() for scores, classes in everybody.values())
    group = [frozenset(everybody)]
    beyond = {
        float(settled(everybody, [float(level)] * 4, group)[number])
        for low, high in pairwise([*tops[-3:], np.float32(9)])
        for level in (np.nextafter(low, high), (low + high) / 2, high)
    }
    assert len(beyond) == 1
    assert beyond.pop() > tops[-1]
    assert settled(everybody, [float(tops[-3])] * 4, group)[number] == tops[-3]


def test_thresholds_that_enough_people_reach_stay_as_they_are() -> None:
    everybody = people(4, 8, 0.0)
    levels = [0.01, 0.02, 0.03, 0.04]
    found = settled(everybody, levels, [frozenset(everybody)])
    np.testing.assert_array_equal(found, np.array([*levels, 0.04], np.float32))


def test_people_not_scans_are_counted() -> None:
    extremes = Extremes()
    classes = np.zeros(2, int)
    for person, top in (("a", 0.9), ("a", 0.9), ("a", 0.9), ("b", 0.1), ("c", 0.1), ("d", 0.1)):
        extremes.add(person, np.array([0.05, top], np.float32), classes)
    found = extremes.settled(np.full(5, 0.5), [frozenset("abcd")], MINIMUM)
    assert found[0] > 0.9
    assert found[-1] > 0.9
