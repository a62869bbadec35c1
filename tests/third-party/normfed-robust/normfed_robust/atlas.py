"""A normative atlas that a few strange brains among the normal people do not spoil.

A Student t distribution at every voxel (Lange, Little, Taylor 1989, JASA 84:881), fitted by expectation maximisation:
tissue far from the mean counts less in the next iteration (the variant of Kent, Tyler, Vardi 1994, which takes fewer).
All that an iteration needs are sums over people, so that the federated atlas is the pooled one.
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

SUMS = ("weight", "sum", "squares")


class RobustAtlasConfig(Frozen):
    """What a study may write beside the model's name."""

    degrees_of_freedom: float = Field(4.0, ge=1, le=100, description="fewer: strange tissue counts less")
    prior_people: float = Field(
        5.0, gt=0, description="a voxel's variance is drawn to the brain's, worth so many people"
    )
    iterations: int = Field(20, ge=1, le=100, description="at most")
    tolerance: float = Field(0.05, gt=0, description="converged when no mean moves further, in standard deviations")


class RobustAtlas(NormativeModel):
    """See the module. Where nothing is known the variance is infinite, so that nothing is strange."""

    Config: ClassVar[type[Frozen]] = RobustAtlasConfig
    mean = np.zeros((1, 1, 1, 1))
    variance = np.full((1, 1, 1, 1), np.inf)

    def phases(self) -> tuple[Phase, ...]:
        """One of sums, until `absorb` says that it has converged."""
        return (Phase("moments", "summed", rounds=self.config.iterations),)

    def places(self, phase: str) -> Places | None:
        """Every voxel is one."""
        return Places(self.setting.shape, self.setting.voxel_size_mm)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums over people of w, w x and w x^2 at normal voxels, (C, X, Y, Z) each; w = (v + 1) / (v + z^2)."""
        freedom = self.config.degrees_of_freedom
        total = {name: np.zeros((len(self.setting.modalities), *self.setting.shape)) for name in SUMS}
        for index in range(len(cohort)):
            scan = self.with_every_modality(cohort.scan(index))
            normal = np.zeros(scan.mask.size, bool)
            normal[scan.normal_index] = True
            x = scan.images.astype(np.float64)
            weight = (freedom + 1) / (freedom + (x - self.mean) ** 2 / self.variance)
            weight *= normal.reshape(scan.mask.shape)
            for name, values in zip(SUMS, (weight, weight * x, weight * x**2), strict=True):
                total[name] += values
        return total

    def counted(self, phase: str) -> Mapping[str, float]:
        """No scan weighs more than (v + 1) / v at a voxel."""
        return {"weight": 1 + 1 / self.config.degrees_of_freedom, "squares": np.inf}

    def check(self, phase: str, sums: Arrays) -> None:
        """|x| <= the study's largest value, and (sum w x)^2 <= sum w sum w x^2; means over cubes keep both."""
        grid = sums["weight"].shape[1:] if "weight" in sums else ()
        check_shapes(sums, dict.fromkeys(SUMS, (len(self.setting.modalities), *grid)))
        weight, first, second = (sums[name] for name in SUMS)
        largest = max(map(abs, self.setting.value_range))
        most = weight * (1 + SUMS_ROUNDING)
        if (np.abs(first) > largest * most).any() or (second > largest**2 * most).any():
            raise WireError(f"the sums are not of values up to {largest:g}")
        if (first**2 > most * second).any():
            raise WireError("the sums contradict each other")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Mean and variance from the sums over all sites; True if no mean has moved by much."""
        super().absorb(phase, total)
        weight, first, second = (total[name] for name in SUMS)
        known, divisor = weight > 0, np.where(weight > 0, weight, 1)
        if not known.any():
            raise WireError("nobody has normal tissue anywhere")
        before, self.mean = self.mean, first / divisor
        spread = np.maximum(second / divisor - self.mean**2, 0)
        overall, prior = spread.mean(axis=(1, 2, 3), keepdims=True, where=known), self.config.prior_people
        self.variance = np.where(known, (weight * spread + prior * overall) / (weight + prior) + 1e-12, np.inf)
        return bool((np.abs(self.mean - before) <= self.config.tolerance * np.sqrt(self.variance)).all())

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The largest |z| of the modalities, its error of about sqrt((1 + z^2 / 2) / people), and what was expected."""
        scan = self.with_every_modality(visits[-1])
        z = (np.abs(scan.images - self.mean) / np.sqrt(self.variance)).max(0)
        people = np.maximum(self.sums("moments")["weight"].min(0), 1)
        maps = (z, np.sqrt((1 + z**2 / 2) / people), self.mean[0])
        anomaly, uncertainty, expected = (np.where(scan.mask, values, 0).astype(np.float32) for values in maps)
        return Score(anomaly, uncertainty, extras={"expected": expected})
