"""Transforms that learn, of each modality, a mean over all scans that have it: by sums, exactly the pooled mean.

Each scan adds some numbers that describe it as a whole, such as quantiles of the brain; none is about a place in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.transforms.each_modality import EachModality

PHASE = "means"


class LearnsMeans(EachModality, ABC):
    """See the module.

    Attributes
    ----------
    most
        What no number of a scan exceeds; none is below 0.
    """

    most: float

    def phases(self) -> tuple[Phase, ...]:
        """The means."""
        return (Phase(PHASE, "summed"),)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """``count`` (C,) of scans, and ``sum`` (C, ...) of their numbers; 0 of a modality that fewer people have than a
        number must be about."""
        sums, people = self.summed(cohort)
        for array in sums.values():
            array[people < self.setting.told_together] = 0
        return sums

    def summed(self, cohort: Cohort) -> tuple[Arrays, np.ndarray]:
        """The same whoever has a modality, for what stays at the site, and how many people have each: (C,)."""
        channels = len(self.setting.modalities)
        sums = {"count": np.zeros(channels), "sum": np.zeros((channels, *self.shape()))}
        people: list[set[int]] = [set() for _ in range(channels)]
        for index in range(len(cohort)):
            scan = cohort.scan(index)
            for channel in np.flatnonzero(scan.present).tolist():
                numbers = self.described(scan.images[channel], scan.mask)
                if numbers is not None:
                    sums["count"][channel] += 1
                    sums["sum"][channel] += numbers
                    people[channel].add(scan.person.index)
        return sums, np.array([len(those) for those in people])

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once, and its numbers are bounded."""
        return {"count": 1, "sum": self.most}

    def check(self, phase: str, sums: Arrays) -> None:
        """Numbers lie between 0 and `most`."""
        check_shapes(sums, {"count": (len(self.setting.modalities),)})
        shape = (len(self.setting.modalities), *self.shape(sums["sum"].shape[1:] if "sum" in sums else ()))
        check_shapes(sums, {"sum": shape})
        count = sums["count"].reshape(-1, *[1] * (len(shape) - 1))
        if (count < 0).any():
            raise WireError("counts are below 0")
        if (sums["sum"] < 0).any() or (sums["sum"] > self.most * count * (1 + SUMS_ROUNDING)).any():
            raise WireError(f"sums are not of numbers between 0 and {self.most:g}")

    def mean(self, channel: int) -> np.ndarray | None:
        """Over all scans that have a modality; None where there was none."""
        sums = self.sums(PHASE)
        count = sums["count"][channel]
        return sums["sum"][channel] / count if count > 0 else None

    @abstractmethod
    def shape(self, found: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Of a modality's numbers.

        Parameters
        ----------
        found
            That of sums to check, where the grid is not known, as at the server.
        """

    @abstractmethod
    def described(self, volume: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
        """A scan's numbers of a modality, float64; None where it has none, as of a constant image.

        Parameters
        ----------
        volume
            float32 of shape (X, Y, Z), 0 outside the brain.
        mask
            bool of shape (X, Y, Z): the brain.
        """
