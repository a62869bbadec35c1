"""Thresholds as a hospital uses them: nobody or enough people reach each, always."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_people import Everybody, people

from normfed_client.evaluating.thresholds import Extremes, groups_told_of
from normfed_client.hospital.site import Site
from normfed_client.imaging.labels import NO_LESION
from normfed_common.metrics.tissue import CLASSES

MINIMUM = 3


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


def case(person: str, kind: str) -> Any:
    return SimpleNamespace(kind=kind, visit=SimpleNamespace(participant=SimpleNamespace(subject=person)))


@pytest.mark.parametrize("minimum", [2, 3])
def test_figures_are_told_of_modalities_of_kinds_of_the_ill_and_of_whom_the_kinds_leave_over(minimum: int) -> None:
    """Of WMH nothing is told: beside both kinds one healthy person would be left over."""
    kinds = {"a": "MS", "b": "MS", "c": "MS", "d": "WMH", "e": "WMH", "f": NO_LESION}
    lacking = {("FLAIR",): {"a": [], "b": []}, ("T1w", "FLAIR"): {"c": [], "d": [], "e": [], "f": []}}
    site = SimpleNamespace(minimum=minimum, told_together=minimum, groups=lambda _: lacking)
    found = groups_told_of(cast(Site, site), [case(person, kind) for person, kind in kinds.items()])
    expected = [{"a", "b"}, {"c", "d", "e", "f"}, {"a", "b", "c"}, {"a", "b", "c", "d", "e"}, {"d", "e", "f"}]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
