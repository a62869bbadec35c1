"""A person's visits are opened when they are looked at, and not before; some people of a cohort are a cohort."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from synthetic import People

from normfed_common.learning.cohort import Alone, Person, Scan, Subcohort, Untold, Visits


def test_a_visit_is_opened_when_it_is_looked_at() -> None:
    people, opened = People(3), []

    def opening(number: int) -> Scan:
        opened.append(number)
        return people.scan(number)

    visits = Visits([lambda number=number: opening(number) for number in range(3)])  # type: ignore[misc]
    assert (len(visits), opened) == (3, [])
    np.testing.assert_array_equal(visits[-1].images, people.scan(2).images)
    assert opened == [2]
    earlier = visits[:2]
    assert isinstance(earlier, Visits)
    assert (len(earlier), opened) == (2, [2])
    assert [scan.person.index for scan in earlier] == [0, 1]


def test_some_people_of_a_cohort_are_one_with_all_their_visits_and_their_own_numbers() -> None:
    people = People(4, visits=2)
    some = Subcohort(people, [3, 1])
    assert len(some) == 4
    assert [list(visits) for visits in some.people()] == [[0, 1], [2, 3]]
    for index, expected in enumerate([6, 7, 2, 3]):
        np.testing.assert_array_equal(some.scan(index).images, people.scan(expected).images)
    assert [some.scan(index).person for index in range(4)] == [people.scan(index).person for index in (6, 7, 2, 3)]
    other = People(4, seed=1, visits=2)
    np.testing.assert_array_equal(some.of(other).scan(2).images, other.scan(2).images)
    assert some.in_whole == (6, 7, 2, 3)


def test_one_person_alone_is_number_0_and_untold_to_whatever_changes_their_scans_too() -> None:
    people, other = People(3, visits=2), People(3, seed=1, visits=2)
    alone = Alone(people, 1)
    assert [list(visits) for visits in alone.people()] == [[0, 1]]
    assert alone.in_whole == (2, 3)
    for cohort, whole in ((alone, people), (alone.of(other), other)):
        for index in range(2):
            np.testing.assert_array_equal(cohort.scan(index).images, whole.scan(2 + index).images)
            assert cohort.scan(index).person == Person(0)
    assert alone.whole.scan(2).person == Person(1) != people.scan(2).person


def test_the_scanner_of_people_who_are_untold_or_alone_is_known_still() -> None:
    people = People(2)
    people.scans = [replace(scan, person=replace(scan.person, scanner=f"a/{n}")) for n, scan in enumerate(people.scans)]
    assert [Untold(people).scan(index).person.scanner for index in range(2)] == ["a/0", "a/1"]
    assert Alone(people, 1).scan(0).person == Person(0, scanner="a/1")


def test_of_people_who_are_untold_nothing_is_known_but_which_scans_are_one_person_s() -> None:
    people = People(3, visits=2)
    untold = Untold(people)
    assert (len(untold), untold.people()) == (6, people.people())
    assert people.scan(2).person != Person(1)
    assert [untold.scan(index).person for index in range(6)] == [Person(index // 2) for index in range(6)]
    np.testing.assert_array_equal(untold.scan(3).images, people.scan(3).images)
