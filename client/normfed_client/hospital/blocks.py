"""Which people a hospital's releases tell apart, and over whom the next one may be.

Two sums over sets of people that differ by one person give that person by subtraction, and so do three whose
differences are large but cross (A+B, B+C and A+C give B). So the hospital looks at all sets that it ever released
together, whatever was released of them: they cut its people into **blocks**, the people who were in exactly the same
releases. Whatever anybody computes from these sums by adding and subtracting is made of whole blocks. No block may ever
hold fewer people than the hospital's minimum.

A person whose scans were exported anew, or whose age, sex or scanner was corrected, is the same person with another
**version**: sums before and after differ by what changed. So versions are cut into blocks in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

Item = tuple[str, str]  # a person and their version; the person as such has the version ""


@dataclass(frozen=True, order=True)
class Member:
    """A person in a release: keyed digests of the name, and of all scans and masks with what is said of the person."""

    person: str
    version: str


def blocks(sets: Iterable[Collection[Member]]) -> dict[frozenset[int], set[Item]]:
    """People and versions by the numbers of the sets that they are in."""
    memberships: dict[Item, set[int]] = {}
    for number, members in enumerate(sets):
        for member in members:
            for item in _items(member):
                memberships.setdefault(item, set()).add(number)
    found: dict[frozenset[int], set[Item]] = {}
    for item, numbers in memberships.items():
        found.setdefault(frozenset(numbers), set()).add(item)
    return found


def too_small(sets: Sequence[Collection[Member]], minimum: int, new: int = 1) -> dict[frozenset[int], set[Item]]:
    """Blocks of fewer people than ``minimum`` that the last of the sets makes, or the ``new`` last together.

    Small blocks that were there before it are no news: the hospital's minimum was lower then.
    """
    before = {frozenset(block) for block in blocks(sets[: len(sets) - new]).values()}
    return {
        where: block
        for where, block in blocks(sets).items()
        if len(_people(block)) < minimum and frozenset(block) not in before
    }


def releasable(
    people: Collection[Member], earlier: Sequence[Collection[Member]], minimum: int, order: Callable[[str], float]
) -> frozenset[Member]:
    """As many of ``people`` as may be in a release, after the ``earlier`` sets: all of them where that is possible.

    People who were never released wait until ``minimum`` of them do. Where few of a block would be left behind, others
    of the same block wait with them, so that ``minimum`` are; where a block has not enough people for that, all of it.

    Parameters
    ----------
    order
        Of a person's digest: who of a block waits first, a lot that nobody outside knows.
    """
    chosen = set(people)
    last = len(earlier)  # the number of the set that is sought
    while chosen:
        small = too_small([*earlier, chosen], minimum)
        if not small:
            break
        where, block = min(small.items(), key=lambda pair: min(pair[1]))  # the order of a set must not decide
        if last in where:
            waiting = _people(block)
        else:  # left behind by this release alone
            inside = blocks([*earlier, chosen]).get(where | {last}, set())
            beside = sorted(_people(inside) - _people(block), key=order)
            waiting = set(beside[: minimum - len(_people(block))])
        remaining = {member for member in chosen if member.person not in waiting}
        chosen = remaining if len(remaining) < len(chosen) else set()
    return frozenset(chosen) if len(chosen) >= minimum else frozenset()


def _items(member: Member) -> tuple[Item, Item]:
    return (member.person, ""), (member.person, member.version)


def _people(block: Collection[Item]) -> set[str]:
    return {person for person, _ in block}
