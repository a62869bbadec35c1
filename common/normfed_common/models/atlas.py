"""Normative atlas: mean and variance of normal people at every voxel; score = root mean squared z over modalities.

Made from sums over people (n, sum x, sum x^2), so that the federated atlas is the pooled one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import SUMS_ROUNDING, Places
from normfed_common.models.base import NormativeModel
from normfed_common.study.base import Frozen


class AtlasConfig(Frozen):
    """Parameters of the atlas: a voxel's variance is drawn to the brain's mean variance, worth so many people."""

    prior_subjects: float = Field(
        5.0, ge=0, description="0 gives the plain z-score, of a deviation of 1e-6 where nobody varies"
    )


class Atlas(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = AtlasConfig

    def phases(self) -> tuple[Phase, ...]:
        """Moments of every voxel."""
        return (Phase("moments", "summed"),)

    def places(self, phase: str) -> Places | None:
        """Every voxel is a place of its own."""
        return Places(self.setting.shape, self.setting.voxel_size_mm)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """n of shape (X, Y, Z); sums of x and of x^2 of shape (C, X, Y, Z), over normal voxels."""
        channels = len(self.setting.modalities)
        size = int(np.prod(self.setting.shape))
        count = np.zeros(size)
        first, second = np.zeros((channels, size)), np.zeros((channels, size))
        for index in range(len(cohort)):
            scan = self.with_every_modality(cohort.scan(index))
            where = np.asarray(scan.normal_index)
            values = scan.images.reshape(channels, -1)[:, where].astype(np.float64)
            count[where] += 1
            first[:, where] += values
            second[:, where] += values**2
        shape = self.setting.shape
        return {
            "count": count.reshape(shape),
            "sum": first.reshape(channels, *shape),
            "squares": second.reshape(channels, *shape),
        }

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once at a voxel."""
        return {"count": 1, "squares": np.inf}

    def check(self, phase: str, sums: Arrays) -> None:
        """Values lie in the study's range, and (sum x)^2 <= n sum x^2 (Cauchy-Schwarz), at every voxel.

        Both hold for means over cubes of voxels as well.
        """
        grid = sums["count"].shape if "count" in sums else ()
        channels = (len(self.setting.modalities), *grid)
        check_shapes(sums, {"count": grid, "sum": channels, "squares": channels})
        count, first, second = sums["count"], sums["sum"], sums["squares"]
        if (count < 0).any() or (second < 0).any():
            raise WireError("counts or squares are below 0")
        low, high = self.setting.value_range
        largest = max(abs(low), abs(high))
        slack = SUMS_ROUNDING * largest * count
        if (first < low * count - slack).any() or (first > high * count + slack).any():
            raise WireError(f"sums are not of values between {low:g} and {high:g}")
        if (second > largest**2 * count * (1 + SUMS_ROUNDING)).any():
            raise WireError(f"squares are not of values between {low:g} and {high:g}")
        if (first**2 > count * second * (1 + SUMS_ROUNDING)).any():
            raise WireError("sums and squares contradict each other")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Mean and standard deviation from the sums over all sites."""
        super().absorb(phase, total)
        self._mean, variance = self.mean_and_variance()
        known = total["count"] > 0
        if not np.isfinite(self._mean[:, known]).all() or not np.isfinite(variance[:, known]).all():
            raise WireError("sums make a mean or a variance that is not finite")
        self._deviation = np.sqrt(variance + 1e-12)
        return False

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Per modality and voxel, (C, X, Y, Z) each; NaN where nobody had brain."""
        sums = self.sums("moments")
        count = np.where(sums["count"] > 0, sums["count"], np.nan)
        mean = sums["sum"] / count
        variance = np.maximum(sums["squares"] / count - mean**2, 0)
        overall = np.nanmean(variance, axis=(1, 2, 3), keepdims=True)
        prior = self.config.prior_subjects
        return mean, (count * variance + prior * overall) / (count + prior)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Root mean squared z-score; 0 where none of the normal people has brain."""
        scan = self.with_every_modality(visits[-1])
        z = (scan.images - self._mean) / self._deviation
        rms = np.sqrt(np.mean(z**2, axis=0))
        return Score(np.where(scan.mask, np.nan_to_num(rms, nan=0.0), 0.0).astype(np.float32))
