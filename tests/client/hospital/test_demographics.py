"""Whatever is made of people's ages and sexes, it is about at least the minimum of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_client.hospital.demographics import apart, told
from normfed_client.imaging.participants import Participant

AGES = st.one_of(st.none(), st.floats(0, 120))
PEOPLE = st.lists(st.tuples(AGES, st.sampled_from(["F", "M", None])), min_size=1, max_size=40)


def participants(people: list[tuple[float | None, str | None]]) -> list[Participant]:
    return [Participant(f"sub-{n:02d}", "a", "", age, sex) for n, (age, sex) in enumerate(people)]  # type: ignore[arg-type]


@given(PEOPLE, st.integers(1, 10))
def test_no_age_and_no_sex_is_that_of_fewer_people_than_the_minimum(
    people: list[tuple[float | None, str | None]], minimum: int
) -> None:
    found = told(participants(people), minimum)
    assert len(found) == len(people)
    assert min(Counter(found.values()).values()) >= min(minimum, len(people))
    assert sorted(len(group) for group in apart(found)) == sorted(Counter(found.values()).values())


def test_groups_keep_the_mean_age_and_the_order() -> None:
    found = told(participants([(age, "F") for age in (60.0, 20.0, 40.0, 80.0, 30.0, 70.0)]), 3)
    assert [found[f"sub-{n:02d}"][0] for n in range(6)] == pytest.approx([70, 30, 30, 70, 30, 70])


def test_ages_are_grouped_within_a_sex_so_that_no_two_sums_differ_by_one_person() -> None:
    """Eight youngest of whom seven are all the women: the sum over them less that over women would be one man's."""
    people: list[tuple[float | None, str | None]] = [(20.0 + n, "F") for n in range(7)]
    people += [(27.0, "M"), *((50.0 + n, "M") for n in range(7))]
    found = told(participants(people), 4)
    for group in apart(found):
        assert len({people[int(name[-2:])][1] for name in group}) == 1


@pytest.mark.parametrize("rare", ["M", None])
def test_where_few_are_of_a_sex_or_say_none_nobodys_is_told(rare: str | None) -> None:
    found = told(participants([(50.0, "F")] * 9 + [(50.0, rare)]), 2)
    assert {sex for _, sex in found.values()} == {None}


def test_one_who_says_no_age_counts_as_of_the_mean_and_one_who_alone_does_as_of_none() -> None:
    few = told(participants([(None, "F")] * 5 + [(90.0, "F")]), 2)
    assert {age for age, _ in few.values()} == {None}
    most = told(participants([(40.0, "F")] * 3 + [(60.0, "F")] * 3 + [(None, "F")]), 3)
    assert most["sub-06"][0] == pytest.approx(42.5)
