"""Histograms over a site's people and thresholds for them: what is made with them is of nobody or enough people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normfed_common.metrics import histograms
from normfed_common.metrics.tissue import CLASSES
from normfed_common.privacy import disclosure


class Histogram:
    """Counts over people; no bin released covers fewer than ``minimum`` of a group."""

    def __init__(
        self, bins: int, minimum: int, groups: Mapping[str, int], kind: type[np.number[Any]] = np.int64
    ) -> None:
        self._total, self._minimum, self._groups = np.zeros(bins, kind), minimum, groups
        self._present: dict[str, np.ndarray] = {}

    def add(self, person: str, counts: np.ndarray) -> None:
        """Add a scan of a person."""
        self._total += counts
        if self._minimum > 1:
            self._present[person] = self._present.get(person, False) | (counts != 0)

    def told(self) -> np.ndarray:
        """The counts as they may leave: `disclosure.merged_bins`."""
        present = np.stack(list(self._present.values())) if self._present else np.zeros((0, len(self._total)), bool)
        groups = np.array([self._groups[person] for person in self._present], int)
        return disclosure.merged_bins(self._total, present, self._minimum, groups)


class ClassHistograms:
    """Coarse counts by class of place. No voxel is in two, so that no difference of what is released is of fewer people
    than either; what all classes have together is not released beside them, only added up by whoever has them."""

    def __init__(self, low: float, high: float, minimum: int, groups: Mapping[str, int]) -> None:
        self._low, self._high = low, high
        self._classes = [Histogram(histograms.COARSE_BINS, minimum, groups) for _ in CLASSES]

    def add(self, person: str, scores: np.ndarray, classes: np.ndarray) -> None:
        """Add the voxels (n,) of a scan of a person."""
        for number, histogram in enumerate(self._classes):
            histogram.add(person, histograms.coarse_counts(scores[classes == number], self._low, self._high))

    def told(self) -> np.ndarray:
        """The counts as they may leave, (classes, COARSE_BINS)."""
        return np.stack([histogram.told() for histogram in self._classes])


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
