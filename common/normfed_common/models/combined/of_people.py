"""Sums of scores over people, as they may leave a site: of members that a server can make up as it likes.

A made-up atlas can give one voxel of the brain scores that no other has, and everybody's is then in a bin of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.privacy import disclosure


class OfPeople:
    """Person by person.

    Parameters
    ----------
    shapes
        Of ``counts``, histograms (..., bins); or of ``count`` and ``sum`` of scores, (members,).
    minimum
        How many people a number is about at least; with 1 all sums are exact.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], minimum: int) -> None:
        self._shapes, self._minimum = shapes, minimum
        self._total = self.begin()
        self._present: list[np.ndarray] = []  # everybody's bins
        self._means: list[np.ndarray] = []  # everybody's mean scores, NaN where there are none
        self._modalities: list[tuple[bool, ...]] = []

    def begin(self) -> Arrays:
        """Sums of nobody."""
        return {name: np.zeros(shape) for name, shape in self._shapes.items()}

    def take(self, sums: Arrays, modalities: np.ndarray) -> None:
        """A person's sums, who has those modalities."""
        for name, array in sums.items():
            self._total[name] += array
        if self._minimum == 1:
            return
        self._modalities.append(tuple(modalities.tolist()))
        if "counts" in sums:
            self._present.append(sums["counts"] != 0)
        else:
            self._means.append(np.where(sums["count"] > 0, sums["sum"] / np.maximum(sums["count"], 1), np.nan))

    def told(self) -> Arrays:
        """Histograms with bins of few people merged; scores as if all were of the median person, in two digits."""
        found = dict(self._total)
        if self._minimum == 1:
            return found
        kinds = sorted(set(self._modalities))
        groups = np.array([kinds.index(one) for one in self._modalities], int)
        if "counts" in found:
            present = np.array(self._present).reshape(len(groups), *found["counts"].shape)
            for where in np.ndindex(found["counts"].shape[:-1]):
                row = disclosure.merged_bins(found["counts"][where], present[:, *where], self._minimum, groups)
                found["counts"][where] = row
        else:
            for member, means in enumerate(np.array(self._means).reshape(-1, len(found["count"])).T):
                middle = np.median(means[~np.isnan(means)]) if found["count"][member] else 0.0
                found["sum"][member] = found["count"][member] * float(f"{middle:.2g}")
        return found
