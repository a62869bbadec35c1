"""Thresholds as a site uses them: no figure at one is about few people's voxels.

A figure at a threshold, such as Dice, leaves as a sum over people. Whoever chooses the threshold chooses who is above
it: at a level that one person alone reaches, every other person adds what they would add at any level beyond, and the
sum is that one person's. By moving the level the highest scores of single people could be found. So a level that few
people of a group reach, or that few stay below, is replaced by one that nobody of them reaches, or all do: the same
wherever it was asked to be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.labels import NO_LESION
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import reportable_groups
from normfed_common.metrics.tissue import CLASSES


class Extremes:
    """Every scan's lowest and highest score in each class and the whole brain, for thresholds that single out nobody;
    they stay here."""

    def __init__(self) -> None:
        self._lows: list[np.ndarray] = []
        self._highs: list[np.ndarray] = []
        self._people: list[str] = []

    def add(self, person: str, scores: np.ndarray, classes: np.ndarray) -> None:
        """Add the voxels (n,) of a scan of a person."""
        parts = [*(scores[classes == number] for number in range(len(CLASSES))), scores]
        self._lows.append(np.array([part.min(initial=np.inf) for part in parts]))
        self._highs.append(np.array([part.max(initial=-np.inf) for part in parts]))
        self._people.append(person)

    def settled(self, levels: np.ndarray, groups: Sequence[frozenset[str]], minimum: int) -> np.ndarray:
        """Thresholds (classes + 1,) as they are used, float32; the last is the whole brain's.

        Where few people of a group reach one, nobody is to reach it; where few have anything below it, nobody has.

        Parameters
        ----------
        groups
            Sets of people of each of which a figure is told.
        """
        names = sorted(set(self._people))
        owner = np.array([names.index(person) for person in self._people])
        members = np.array([[name in group for name in names] for group in groups])
        lows, highs = np.array(self._lows), np.array(self._highs)
        found = np.array(levels, np.float32)

        def enough(scans: np.ndarray) -> bool:
            """Whether these scans, bool (scans,), are nobody's or enough people's in every group."""
            whose = np.isin(np.arange(len(names)), owner[scans])
            counts = members[:, whose].sum(1)
            return bool(((counts == 0) | (counts >= minimum)).all())

        for number, level in enumerate(found):
            reach, below, have = highs[:, number] >= level, lows[:, number] < level, np.isfinite(highs[:, number])
            if reach.any() and enough(reach) and below.any() and enough(below):
                continue
            # One that none of all scores reaches, or that all reach: the same wherever it was asked to be.
            found[number] = np.nextafter(np.float32(highs.max()), np.float32(np.inf))
            if reach.any() and enough(reach) and enough(have):
                found[number] = lows.min()
        return found


def groups_told_of(site: Site, cases: Sequence[Case]) -> list[frozenset[str]]:
    """The sets of people of whom figures may be told: all with the same modalities, those with a lesion, of a kind, and
    whom the kinds leave over."""
    groups = [frozenset(group) for group in site.groups(cases).values()]
    kinds, people = [case.kind for case in cases], [case.visit.participant.subject for case in cases]
    of_kind = {
        kind: frozenset(person for person, other in zip(people, kinds, strict=True) if other == kind)
        for kind in reportable_groups(kinds, people, site.minimum)
        if kind != EVERYBODY
    }
    ill = frozenset(person for person, kind in zip(people, kinds, strict=True) if kind != NO_LESION)
    rest = frozenset(people).difference(*of_kind.values())
    enough = (group for group in (ill, rest) if len(group) >= site.told_together)
    return [*groups, *of_kind.values(), *enough]
