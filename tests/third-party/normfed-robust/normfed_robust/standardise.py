"""Scans in standard deviations from the mean of normal tissue, learnt over all sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.study.base import Frozen
from normfed_common.transforms.base import ScanTransform

SUMS = ("count", "sum", "squares")
LIMIT = 5.0


class Standardise(ScanTransform):
    """(x - mean) / standard deviation of all sites' normal voxels, per modality, clipped to -5 to 5."""

    Config: ClassVar[type[Frozen]] = Frozen  # no parameters

    @classmethod
    def needs(cls, config: Frozen, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """None: where a modality is absent it stays so."""
        return ()

    def phases(self) -> tuple[Phase, ...]:
        """One of sums."""
        return (Phase("moments", "summed"),)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Count, sum and sum of squares of the normal voxels, (C,) each."""
        total = {name: np.zeros(len(self.setting.modalities)) for name in SUMS}
        for index in range(len(cohort)):
            scan = cohort.scan(index)
            x = scan.images.reshape(len(scan.images), -1)[:, scan.normal_index].astype(np.float64)
            for name, values in zip(SUMS, (scan.present * x.shape[1], x.sum(1), (x**2).sum(1)), strict=True):
                total[name] += values
        return total

    def counted(self, phase: str) -> Mapping[str, float]:
        """Never negative."""
        return {"count": np.inf, "squares": np.inf}

    def check(self, phase: str, sums: Arrays) -> None:
        """|x| <= the largest value before the transform, and (sum x)^2 <= n sum x^2."""
        check_shapes(sums, dict.fromkeys(SUMS, (len(self.setting.modalities),)))
        count, first, second = (sums[name] for name in SUMS)
        largest, most = max(map(abs, self.setting.value_range)), count * (1 + SUMS_ROUNDING)
        if (second > largest**2 * most).any() or (first**2 > most * second).any():
            raise WireError("the sums are not those of scans")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Mean and standard deviation, of all sites' people together."""
        super().absorb(phase, total)
        count, first, second = (total[name][:, None, None, None] for name in SUMS)
        self.mean = first / np.maximum(count, 1)
        self.deviation = np.sqrt(np.maximum(second / np.maximum(count, 1) - self.mean**2, 1e-6))
        return True

    @property
    def value_range(self) -> tuple[float, float]:
        """What the model behind it may count on."""
        return -LIMIT, LIMIT

    def transform(self, scan: Scan) -> Scan:
        """float32; 0 stays 0 outside the brain and where a modality is absent."""
        z = np.clip((scan.images - self.mean) / self.deviation, -LIMIT, LIMIT)
        there = scan.mask & scan.present[:, None, None, None]
        return replace(scan, images=np.where(there, z, 0).astype(np.float32))
