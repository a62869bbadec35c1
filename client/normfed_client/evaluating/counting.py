"""Histograms over a site's people: what is made with them is of nobody or of enough people."""

from __future__ import annotations

from collections.abc import Mapping
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
