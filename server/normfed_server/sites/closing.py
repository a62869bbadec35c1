"""Who took part in a round, who did not and why; and when a round is over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from normfed_common.study.federation import FederationConfig


class Outcome(StrEnum):
    """What became of a site in a round."""

    TOOK_PART = "took part"
    NOT_SAMPLED = "not sampled"  # by the study's own choice: no fault
    LATE = "late"
    REFUSED = "refused"
    FAILED = "failed"
    SET_ASIDE = "set aside"
    ABSENT = "absent"
    NO_PART = "no part"  # none of its people are whom the phase learns from: no fault, and no quorum counts it


@dataclass(frozen=True)
class Closing:
    """When a round is over: everybody answered, or the quorum did and patience has run out.

    Parameters
    ----------
    people
        The asked sites' training people.
    sites
        How many must answer.
    share
        Of the asked sites' people that must have answered.
    patience_s
        From the round's beginning.
    largest
        The site with most people, which no quorum may leave out ...
    excused
        ... unless the operator said so, perhaps just now.
    wanted
        What the study asks for as ``sites``, were there enough; more than half of them when absent.
    minimum
        What the strategy needs.
    """

    people: Mapping[str, int]
    sites: int
    share: float
    patience_s: float
    largest: str | None = None
    excused: Callable[[], frozenset[str]] = frozenset
    wanted: int | None = None
    minimum: int = 1

    @classmethod
    def of(
        cls,
        federation: FederationConfig,
        people: Mapping[str, int],
        minimum: int,
        excused: Callable[[], frozenset[str]] = frozenset,
    ) -> Closing:
        """The study's rule for the sites asked; ``minimum`` is what the strategy needs."""
        never = indispensable(federation, people)
        share, patience_s, wanted = federation.quorum_subjects, federation.patience_s, federation.quorum
        needed = _needed(people, wanted, minimum)
        return cls(people, needed, share, patience_s, never, excused, wanted, minimum)

    def apart_from(self, sites: Collection[str]) -> Closing:
        """The same rule among the others, when these turned out to have no part in the phase."""
        if not sites:
            return self
        others = {site: people for site, people in self.people.items() if site not in sites}
        largest = self.largest
        if largest in sites:
            largest = max(others, key=lambda site: (others[site], site), default=None)
        return replace(self, people=others, sites=_needed(others, self.wanted, self.minimum), largest=largest)

    def without(self, set_aside: Collection[str]) -> Closing:
        """The same rule once these sites' answers came and could not be used: nobody waits for the largest then."""
        return replace(self, largest=None) if self.largest in set_aside else self

    def quorum(self, answered: Mapping[str, object] | set[str]) -> bool:
        """Whether these answers are enough."""
        if self.largest is not None and self.largest not in answered and self.largest not in self.excused():
            return False
        total, there = sum(self.people.values()), sum(self.people[site] for site in answered)
        # As a quotient: 0.55 * 100 is more than 55.
        return len(answered) >= self.sites and (total == 0 or there / total >= self.share)

    def at(self, arrivals: Mapping[str, float]) -> float:
        """The moment a round ends whose answers arrive so; all of ``people`` arrive some time."""
        last = max(arrivals.values(), default=0.0)
        if last <= self.patience_s:
            return last
        there: set[str] = set()
        for site in sorted(arrivals, key=lambda name: arrivals[name]):
            there.add(site)
            if self.quorum(there):
                return max(arrivals[site], self.patience_s)
        return last


def _needed(people: Mapping[str, int], wanted: int | None, minimum: int) -> int:
    return max(min(len(people) // 2 + 1 if wanted is None else wanted, len(people)), minimum)


def indispensable(federation: FederationConfig, people: Mapping[str, int]) -> str | None:
    """The site without which no round closes unless the operator says so: the one with most people; None if the study
    lets it be left out."""
    if federation.largest_may_be_left_out:
        return None
    return max(people, key=lambda site: (people[site], site), default=None)


def missing(history: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Site to the rounds in which it should have taken part and did not; sites that always did are not in it."""
    fine = (Outcome.TOOK_PART, Outcome.NOT_SAMPLED, Outcome.NO_PART)
    found: dict[str, list[int]] = {}
    for entry in history:
        for site, outcome in entry["outcomes"].items():
            if outcome not in fine:
                found.setdefault(site, []).append(entry["round"])
    return dict(sorted(found.items()))
