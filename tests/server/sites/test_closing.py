"""When a round is over, against the rule read off the study word by word, in whole numbers and fractions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.study.federation import FederationConfig
from normfed_server.sites.closing import Closing, Outcome, indispensable, missing

SITES = "abcdef"
people = st.dictionaries(st.sampled_from(SITES), st.integers(1, 60), min_size=1)
percent = st.integers(0, 100)
some = st.frozensets(st.sampled_from(SITES))


def rule(answered: set[str], of: Mapping[str, int], sites: int, percent: int, never: str | None) -> bool:
    """A quorum, as the study's fields say it; ``never`` must be there."""
    enough = Fraction(sum(of[s] for s in answered), sum(of.values())) >= Fraction(percent, 100)
    return enough and len(answered) >= sites and (never is None or never in answered)


def subsets(names: Mapping[str, int]) -> list[set[str]]:
    return [set(c) for size in range(len(names) + 1) for c in itertools.combinations(names, size)]


def slow_end(arrivals: Mapping[str, float], closing: Closing, percent: int, excused: frozenset[str]) -> float:
    """The first moment at which everybody is there, or a quorum is and patience is over."""
    never = None if closing.largest in excused else closing.largest
    for moment in sorted({*arrivals.values(), closing.patience_s}):
        there = {site for site, time in arrivals.items() if time <= moment}
        if len(there) == len(arrivals):
            return max(arrivals.values())
        if moment >= closing.patience_s and rule(there, closing.people, closing.sites, percent, never):
            return moment
    raise AssertionError("everybody arrives some time")


@given(people, st.integers(0, 6), percent, some, st.data())
def test_a_quorum_is_what_the_study_says(
    of: dict[str, int], sites: int, percent: int, excused: frozenset[str], data: st.DataObject
) -> None:
    largest = data.draw(st.sampled_from([None, *of]))
    closing = Closing(of, sites, percent / 100, 0.0, largest, lambda: excused)
    never = None if largest in excused else largest
    for answered in subsets(of):
        assert closing.quorum(answered) == rule(answered, of, sites, percent, never)


@pytest.mark.parametrize("share", [0.07, 0.14, 0.28, 0.29, 0.55, 0.56, 0.57, 0.58])
def test_exactly_the_share_of_the_people_is_enough(share: float) -> None:
    """Each of these times 100 is a little more than it says."""
    there = round(100 * share)
    assert Closing({"a": there, "b": 100 - there}, 1, share, 0.0).quorum({"a"})
    assert not Closing({"a": there - 1, "b": 101 - there}, 1, share, 0.0).quorum({"a"})


times = st.integers(0, 8).map(float)


@given(people, st.integers(1, 6), percent, some, times, st.data())
def test_a_round_ends_at_the_first_moment_that_the_rule_allows(
    of: dict[str, int], sites: int, percent: int, excused: frozenset[str], patience_s: float, data: st.DataObject
) -> None:
    arrivals = {site: data.draw(times) for site in of}
    largest = data.draw(st.sampled_from([None, *of]))
    closing = Closing(of, sites, percent / 100, patience_s, largest, lambda: excused)
    assert closing.at(arrivals) == slow_end(arrivals, closing, percent, excused)


def test_a_round_that_asks_nobody_is_over() -> None:
    assert Closing({}, 0, 0.5, 60.0).at({}) == 0.0
    assert Closing({}, 0, 0.5, 60.0).quorum(set())


def test_the_largest_is_waited_for_beyond_patience_until_it_is_excused() -> None:
    arrivals = {"a": 500.0, "b": 1.0, "c": 2.0, "d": 900.0}
    of = {"a": 10, "b": 5, "c": 5, "d": 1}
    excused: set[str] = set()
    closing = Closing(of, 2, 0.0, 60.0, "a", lambda: frozenset(excused))
    assert closing.at(arrivals) == 500.0
    excused.add("a")  # while the round goes on
    assert closing.at(arrivals) == 60.0


@pytest.mark.parametrize(
    ("asked", "quorum", "minimum", "needed"),
    [
        (1, None, 1, 1),
        (2, None, 1, 2),
        (3, None, 1, 2),
        (4, None, 1, 3),
        (5, None, 1, 3),
        (4, 2, 1, 2),
        (4, 9, 1, 4),  # no more than were asked, as where only a part is drawn
        (4, 2, 3, 3),  # the strategy needs three
        (4, None, 5, 5),  # and does not get them
    ],
)
def test_how_many_must_answer(asked: int, quorum: int | None, minimum: int, needed: int) -> None:
    of = dict.fromkeys(SITES[:asked], 1)
    assert Closing.of(FederationConfig(quorum=quorum), of, minimum).sites == needed


@given(people)
def test_more_than_half_of_those_asked_is_the_fewest_that_two_quorums_share_a_site(of: dict[str, int]) -> None:
    needed = Closing.of(FederationConfig(), of, 1).sites
    assert 2 * needed > len(of) >= 2 * (needed - 1)


def test_the_study_s_rule_is_carried_over_whole() -> None:
    federation = FederationConfig(quorum=2, quorum_subjects=0.6, patience_s=7.0)
    closing = Closing.of(federation, {"a": 4, "b": 9, "c": 1}, 1, lambda: frozenset("b"))
    assert (closing.share, closing.patience_s, closing.largest) == (0.6, 7.0, "b")
    assert closing.excused() == {"b"}


@given(people)
def test_the_largest_has_most_people_and_among_equals_the_last_name(of: dict[str, int]) -> None:
    found = indispensable(FederationConfig(), of)
    most = max(of.values())
    assert found == sorted(site for site, count in of.items() if count == most)[-1]
    assert indispensable(FederationConfig(largest_may_be_left_out=True), of) is None


def test_without_anybody_there_is_no_largest() -> None:
    assert indispensable(FederationConfig(), {}) is None


def test_a_largest_whose_answer_cannot_be_used_is_not_waited_for_and_another_changes_nothing() -> None:
    closing = Closing({"a": 10, "b": 5, "c": 5}, 2, 0.0, 60.0, "a")
    assert not closing.without({"b"}).quorum({"b", "c"})
    assert closing.without({"a", "b"}).quorum({"b", "c"})
    assert not closing.without({"a"}).quorum({"b"})  # the number is still needed
    assert not Closing({"a": 10, "b": 5, "c": 5}, 2, 0.6, math.inf, "a").without({"a"}).quorum({"b", "c"})


def entry(round: int, **outcomes: Outcome) -> dict[str, Any]:
    """A round of the history, as it comes back from a file: outcomes are text."""
    return {"round": round, "outcomes": {site: str(outcome) for site, outcome in outcomes.items()}}


def test_missing_are_those_who_should_have_taken_part_in_the_rounds_in_which_they_did_not() -> None:
    faults = [Outcome.LATE, Outcome.REFUSED, Outcome.FAILED, Outcome.SET_ASIDE, Outcome.ABSENT]
    history = [entry(n, z=fault, a=Outcome.TOOK_PART, b=Outcome.NOT_SAMPLED) for n, fault in enumerate(faults, 1)]
    history.append(entry(6, z=Outcome.TOOK_PART, a=Outcome.LATE, b=Outcome.TOOK_PART))
    assert missing(history) == {"a": [6], "z": [1, 2, 3, 4, 5]}
    assert list(missing(history)) == ["a", "z"]


@given(people, st.one_of(st.none(), st.integers(1, 6)), percent, st.booleans(), some)
def test_sites_without_a_part_are_as_if_they_had_not_been_asked(
    of: dict[str, int], wanted: int | None, percent: int, may_be_left_out: bool, no_part: frozenset[str]
) -> None:
    rule = FederationConfig(quorum=wanted, quorum_subjects=percent / 100, largest_may_be_left_out=may_be_left_out)
    others = {site: count for site, count in of.items() if site not in no_part}
    assert Closing.of(rule, of, 1).apart_from(no_part) == Closing.of(rule, others, 1)
