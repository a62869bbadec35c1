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

    @classmethod
    def needs(cls, config: AtlasConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """None: the sums of a modality are over those who have it."""
        return ()

    def phases(self) -> tuple[Phase, ...]:
        """Moments of every voxel."""
        return (Phase("moments", "summed"),)

    def places(self, phase: str) -> Places | None:
        """Every voxel is a place of its own."""
        return Places(self.setting.shape, self.setting.voxel_size_mm)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums of x and of x^2 of shape (C, X, Y, Z), over normal voxels; n of shape (X, Y, Z), or where scans may lack
        modalities (C, X, Y, Z): of those who have the modality."""
        channels = len(self.setting.modalities)
        size = int(np.prod(self.setting.shape))
        counted = channels if self.setting.may_lack else 1
        count = np.zeros((counted, size))
        first, second = np.zeros((channels, size)), np.zeros((channels, size))
        for index in range(len(cohort)):
            scan = self._usable(cohort.scan(index))
            where = np.asarray(scan.normal_index)
            values = scan.images.reshape(channels, -1)[:, where].astype(np.float64)
            count[:, where] += scan.present[:counted, None]
            first[:, where] += values
            second[:, where] += values**2
        shape = self.setting.shape
        return {
            "count": count.reshape(channels, *shape) if self.setting.may_lack else count.reshape(shape),
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
        grid = sums["sum"].shape[1:] if "sum" in sums else ()
        channels = (len(self.setting.modalities), *grid)
        counted = channels if self.setting.may_lack else grid
        check_shapes(sums, {"count": counted, "sum": channels, "squares": channels})
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
        known = np.broadcast_to(total["count"] > 0, variance.shape)
        if not np.isfinite(self._mean[known]).all() or not np.isfinite(variance[known]).all():
            raise WireError("sums make a mean or a variance that is not finite")
        self._deviation = np.sqrt(variance + 1e-12)
        return False

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Per modality and voxel, (C, X, Y, Z) each; NaN where nobody with the modality had brain."""
        sums = self.sums("moments")
        count = np.where(sums["count"] > 0, sums["count"], np.nan)
        mean = sums["sum"] / count
        variance = np.maximum(sums["squares"] / count - mean**2, 0)
        known = ~np.isnan(variance)
        total = np.sum(np.where(known, variance, 0), axis=(1, 2, 3), keepdims=True)
        overall = total / np.maximum(known.sum((1, 2, 3), keepdims=True), 1)  # of a modality that nobody has: 0
        prior = self.config.prior_subjects
        return mean, (count * variance + prior * overall) / (count + prior)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Root mean squared z-score over the modalities that the scan has and normal people had there; 0 without any.

        Its mean square in normal people is 1 with any number of modalities; large scores are rarer with more of them.
        """
        scan = self._usable(visits[-1])
        squares = ((scan.images - self._mean) / self._deviation)[scan.present] ** 2
        known = ~np.isnan(squares)
        rms = np.sqrt(np.where(known, squares, 0).sum(0) / np.maximum(known.sum(0), 1))
        return Score(np.where(scan.mask, rms, 0.0).astype(np.float32))

    def _usable(self, scan: Scan) -> Scan:
        """Only where the study says that scans may lack modalities are people counted for each."""
        return scan if self.setting.may_lack else self.with_every_modality(scan)
