"""What a hospital tells of classes of place: of nobody or of enough people, always."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_people import Everybody, people

from normfed_client.evaluating.counting import ClassHistograms
from normfed_common.metrics import histograms

MINIMUM = 3


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
