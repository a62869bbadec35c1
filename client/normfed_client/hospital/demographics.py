"""Ages and sexes as a hospital lets them enter a sum: alike for at least the minimum of people.

A server chooses by what mean and deviation ages are standardised (`Covariates`): with a deviation next to 0 it cuts the
people in two wherever it likes, and the sum of products is that of the few beyond the cut. So people of one sex, where
there are enough of either, are put in groups in the order of their ages, and everybody counts as old as their group.
Sums over people then split into those of groups, and no further.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from normfed_client.imaging.participants import Participant
from normfed_common.learning.cohort import Sex
from normfed_common.privacy.disclosure import microaggregated

Told = tuple[float | None, Sex | None]


def told(people: Collection[Participant], minimum: int) -> dict[str, Told]:
    """Age and sex of everybody by name, each pair that of at least ``minimum`` people, if there are as many.

    Where few are of one sex, or say none, nobody's sex is told; where few of a sex say their age, nobody's age. Who
    alone says none counts as of the mean age.
    """
    found: dict[str, Told] = {}
    for sex, members in _by_sex(people, minimum).items():
        names, ages = [one.subject for one in members], [one.age for one in members]
        known = np.array([age for age in ages if age is not None])
        if len(known) < minimum:
            found |= dict.fromkeys(names, (None, sex))
            continue
        filled = np.array([known.mean() if age is None else age for age in ages])
        found |= {n: (float(age), sex) for n, age in zip(names, microaggregated(filled, minimum), strict=True)}
    return found


def apart(known: Mapping[str, Told]) -> list[set[str]]:
    """The people who are told alike, by name."""
    groups: dict[Told, set[str]] = {}
    for name, one in known.items():
        groups.setdefault(one, set()).add(name)
    return list(groups.values())


def parts(whole: Iterable[str], sets: Sequence[Collection[str]]) -> list[set[str]]:
    """Who of a whole are in exactly the same sets."""
    parts: dict[tuple[int, ...], set[str]] = {}
    for one in whole:
        parts.setdefault(tuple(n for n, members in enumerate(sets) if one in members), set()).add(one)
    return list(parts.values())


def _by_sex(people: Collection[Participant], minimum: int) -> dict[Sex | None, list[Participant]]:
    """In the order of their names, so that equal ages are always grouped alike."""
    ordered = sorted(people, key=lambda one: one.subject)
    found: dict[Sex | None, list[Participant]] = {}
    for one in ordered:
        found.setdefault(one.sex, []).append(one)
    return found if all(len(members) >= minimum for members in found.values()) else {None: ordered}
