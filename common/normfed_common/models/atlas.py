"""Normative atlas: mean and variance of normal people at every voxel; score = how far a scan is to the suspicious side.

    signed:    log(1 + e^s),  s = sum_c (+ or -) z_c / sqrt(C),  bright +, dark -  (Stouffer 1949)
    rms:       sqrt(sum_c z_c^2 / C), as published
    residual:  signed, with x - mean instead of z = (x - mean) / deviation: the mean brain taken away

A residual has a sign: most lesions are dark on T1 and bright on FLAIR, and noise and cortical folds are as often the
other way. z is smoothed inside the brain, since what differs between people at single voxels is mostly registration.

Made from sums over people (n, sum x, sum x^2), so that the federated atlas is the pooled one; with age and sex also
from their products (see `regression`), after a phase of six numbers that standardises them (see `covariates`). A site
sends V (1 + 2 C) float64, 18 MB for T1 alone on the grid of 2 mm (V = 755,000), 30 MB with FLAIR; age adds
2 + C arrays of V, age and sex 5 + 2 C. Whoever learns or scores holds twice as much.

Where sums leave with noise (`Setting.private`) a place is a parcel of the template instead of a voxel (see
`learning.parcels`), of P = 64: a site sends P (1 + 2 C) numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.covariates import Covariates, Regressors
from normfed_common.learning.parcels import ParcelMeans, Parcels
from normfed_common.learning.phase import Phase
from normfed_common.learning.scatter import triangle
from normfed_common.learning.score import Score
from normfed_common.learning.setting import SUMS_ROUNDING, Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.voxelwise.intensities import (
    UNITS,
    USUALLY,
    Suspicious,
    check_named,
    never_negative,
    robust_units,
    smoothed_inside,
    suspicion,
)
from normfed_common.models.voxelwise.regression import Products, check_products, slopes
from normfed_common.models.voxelwise.usual import centre_of, usual
from normfed_common.study.base import Frozen
from normfed_common.study.preprocessing import GRID_MM3

SMOOTHING_MM = 2.0  # of signed scores


class AtlasConfig(Frozen):
    """Parameters of the atlas: a voxel's variance is drawn to the brain's mean variance, worth so many people."""

    prior_subjects: float = Field(
        5.0, ge=0, description="0 gives the plain z-score, of a deviation of 1e-6 where nobody varies"
    )
    score: Literal["signed", "rms"] = Field(
        "signed", description="to the suspicious side, or root mean square over modalities, either way, as published"
    )
    suspicious: dict[str, Suspicious] = Field(
        default_factory=dict,
        description="by modality; when absent dark for T1w and FA, bright for FLAIR, T2w and MD, as WMH, MS and most "
        "tumours are, else both",
    )
    scale: Literal["deviation", "none"] = Field(
        "deviation", description="what the distance from the mean is divided by; none is the mean-brain residual"
    )
    units: Literal["study", "robust"] = Field(
        "study", description="of intensities: as the study normalises them, or robust standard deviations per scan"
    )
    smoothing_mm: float | None = Field(
        None, ge=0, le=20, description="standard deviation, inside the brain; when absent 2 for signed scores, else 0"
    )
    regress: Regressors = Field(
        (), description="what the mean is predicted from at every voxel; ages only as far as those trained on reach"
    )
    ridge: float = Field(5.0, gt=0, description="draws predictions to the plain mean, worth so many people")

    @model_validator(mode="after")
    def _all_is_used(self) -> AtlasConfig:
        unused = {
            "suspicious": self.score == "rms" and "a root mean square, which is to either side",
            "prior_subjects": self.scale == "none" and "a residual that no deviation divides (scale: none)",
            "ridge": not self.regress and "an atlas without `regress`",
        }
        for name, of in unused.items():
            if of and getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} says nothing of {of}; leave one of them out")
        return self


class Atlas(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = AtlasConfig
    cited: ClassVar[tuple[str, ...]] = ("stouffer1949",)

    def __init__(self, config: AtlasConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        check_named("atlas", "suspicious", config.suspicious, setting.modalities)
        self.suspicious = {name: config.suspicious.get(name, USUALLY.get(name, "both")) for name in setting.modalities}
        default_mm = SMOOTHING_MM if config.score == "signed" else 0.0
        self.smoothing_mm = default_mm if config.smoothing_mm is None else config.smoothing_mm
        self.covariates = Covariates(config.regress)
        self.age_and_sex = bool(config.regress)
        self.value_range = UNITS if config.units == "robust" else setting.value_range
        self.parcels = Parcels(setting)

    @classmethod
    def title(cls, config: AtlasConfig, modalities: tuple[str, ...]) -> str:
        """Such as atlas, atlas-rms, atlas-age, or mean-brain-residual."""
        words = ["mean-brain-residual" if config.scale == "none" else "atlas"]
        words += ["rms"] if config.score == "rms" else []
        words += ["units"] if config.units == "robust" else []
        return "-".join([*words, *config.regress])

    @classmethod
    def words(cls, config: AtlasConfig, modalities: tuple[str, ...]) -> str:
        """Such as atlas, mean-brain residual (root mean square), or atlas of age and sex."""
        what = "mean-brain residual" if config.scale == "none" else "atlas"
        of = f" of {' and '.join(config.regress)}" if config.regress else ""
        return f"{what}{of}{' (root mean square)' if config.score == 'rms' else ''}"

    @classmethod
    def draws(cls, config: AtlasConfig) -> bool:
        """Nothing: sums are over all people and all their normal tissue."""
        return False

    @classmethod
    def needs(cls, config: AtlasConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """None: the sums of a modality are over those who have it."""
        return ()

    def phases(self) -> tuple[Phase, ...]:
        """Moments of every voxel, after those of age and sex where they are used."""
        moments = Phase("moments", "summed")
        return (Phase("covariates", "summed"), moments) if self.covariates.names else (moments,)

    def places(self, phase: str) -> Places | None:
        """Every voxel is a place of its own; parcels are not."""
        if phase == "covariates" or self.setting.private:
            return None
        return Places(self.setting.shape, self.setting.voxel_size_mm)

    def bounded(self, phase: str) -> Bounded | None:
        """Means and mean squares of parcels, of people who have every modality; no regression."""
        if self.covariates.names or self.setting.may_lack:
            return None
        of = usual(self.setting, self.config.units)
        away, squares = (np.array([getattr(one, name) for one in of]) for name in ("away", "squares"))
        centre = partial(centre_of, self.parcels, of)
        return _ChannelsFirst(self.parcels, self._values, away, self.value_range, centre, squares)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums of y and of y^2 of shape (C, X, Y, Z), over normal voxels; n of shape (X, Y, Z), or where scans may lack
        modalities (C, X, Y, Z): of those who have the modality.

        With p covariates x also the sums of (x, x x') of shape (p + p (p + 1) / 2, *n.shape), and those of x y of shape
        (p, C, X, Y, Z).
        """
        if phase == "covariates":
            return self.covariates.statistics(cohort)
        shapes = self._shapes()
        sums = {name: np.zeros((*shape[:-3], int(np.prod(shape[-3:])))) for name, shape in shapes.items()}
        for index in range(len(cohort)):
            self._add(sums, self._usable(cohort.scan(index)))
        return {name: sums[name].reshape(shape) for name, shape in shapes.items()}

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once at a voxel."""
        if phase == "covariates":
            return self.covariates.counted()
        return {"count": GRID_MM3 / self.setting.voxel_size_mm**3 if self.setting.private else 1, "squares": np.inf}

    def check(self, phase: str, sums: Arrays) -> None:
        """Values lie in their range, and (sum y)^2 <= n sum y^2 (Cauchy-Schwarz), at every voxel; so do covariates.

        All hold for means over cubes of voxels as well.
        """
        if phase == "covariates":
            return self.covariates.check(sums)
        check_shapes(sums, self._shapes(sums["sum"].shape[1:] if "sum" in sums else ()))
        count, first, second = sums["count"], sums["sum"], sums["squares"]
        if (count < 0).any() or (second < 0).any():
            raise WireError("counts or squares are below 0")
        low, high = self.value_range
        largest = max(abs(low), abs(high))
        slack = SUMS_ROUNDING * largest * count
        if (first < low * count - slack).any() or (first > high * count + slack).any():
            raise WireError(f"sums are not of values between {low:g} and {high:g}")
        if (second > largest**2 * count * (1 + SUMS_ROUNDING)).any():
            raise WireError(f"squares are not of values between {low:g} and {high:g}")
        if (first**2 > count * second * (1 + SUMS_ROUNDING)).any():
            raise WireError("sums and squares contradict each other")
        return self._check_covariates(sums) if self.covariates.names else None

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Mean, standard deviation and slopes from the sums over all sites."""
        super().absorb(phase, total)
        if phase == "covariates":
            self.covariates.absorb(total)
            return False
        if self.setting.private and not self.parcels.known:
            return False
        self._mean, variance, self._slopes = self._fitted()
        known = np.broadcast_to(self._by_voxel()["count"] > 0, variance.shape)
        learnt = (self._mean, variance, *(np.where(known, slope, 0) for slope in self._slopes))
        if not all(np.isfinite(array[known]).all() for array in learnt):
            raise WireError("sums make a mean or a variance that is not finite")
        self._deviation = np.sqrt(variance + 1e-12) if self.config.scale == "deviation" else np.ones(1)
        return False

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Per modality and voxel, (C, X, Y, Z) each; NaN where nobody with the modality had brain.

        Of people of the mean age and sex, where these are used.
        """
        mean, variance, _ = self._fitted()
        return mean, variance

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Over the modalities that the scan has and normal people had there; 0 where there is none.

        In normal people, without smoothing, s has a variance of 1 with any number of modalities, and the mean square
        has a mean of 1; large scores are rarer with more of them. Smoothing comes before squares and absolute values.
        """
        scan = self._usable(visits[-1])
        expected, sigma = self._expected(scan.person), self.smoothing_mm / self.setting.voxel_size_mm
        total, known = np.zeros(scan.mask.shape), np.zeros(scan.mask.shape)
        with np.errstate(invalid="ignore"):
            distances = (self._images(scan) - expected) / self._deviation
        for channel in np.flatnonzero(scan.present):
            there = scan.mask & np.isfinite(distances[channel])
            z = smoothed_inside(distances[channel], there, sigma)
            rms = self.config.score == "rms"
            total += z**2 if rms else suspicion(z, self.suspicious[self.setting.modalities[channel]])
            known += there
        seen = np.maximum(known, 1)
        found = np.sqrt(total / seen) if self.config.score == "rms" else never_negative(total / np.sqrt(seen))
        return Score(np.where(known > 0, found, 0).astype(np.float32))

    def _shapes(self, grid: tuple[int, ...] | None = None) -> dict[str, tuple[int, ...]]:
        """Of the sums of the moments, by name; over the study's grid unless another is given."""
        grid = self.setting.shape if grid is None else grid
        p, channels = len(self.covariates.names), (len(self.setting.modalities), *grid)
        counted = channels if self.setting.may_lack else grid
        shapes = {"count": counted, "sum": channels, "squares": channels}
        more = {"covariates": (p + p * (p + 1) // 2, *counted), "products": (p, *channels)}
        return shapes | more if p else shapes

    def _add(self, sums: Arrays, scan: Scan) -> None:
        """A scan to sums whose voxels are flat."""
        where = np.asarray(scan.normal_index)
        images = self._images(scan)
        values = images.reshape(len(images), -1)[:, where].astype(np.float64)
        counts = scan.present[:, None].astype(np.float64) if self.setting.may_lack else 1.0
        sums["count"][..., where] += counts
        sums["sum"][:, where] += values
        sums["squares"][:, where] += values**2
        if self.covariates.names:
            x = self.covariates.design(scan.person)
            for row, value in zip(sums["covariates"], [*x, *np.outer(x, x)[triangle(len(x))]], strict=True):
                row[..., where] += value * counts
            for row, value in zip(sums["products"], x, strict=True):
                row[:, where] += value * values

    def _images(self, scan: Scan) -> np.ndarray:
        return robust_units(scan.images, scan.mask, scan.present) if self.config.units == "robust" else scan.images

    def _expected(self, person: Person) -> np.ndarray:
        """What normal people of a person's age and sex have, (C, X, Y, Z)."""
        expected: np.ndarray = self._mean
        for slope, value in zip(self._slopes, self.covariates.design(person), strict=True):
            expected = expected + value * slope
        return expected

    def _fitted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and variance, see `mean_and_variance`, and slopes of shape (p, C, X, Y, Z)."""
        sums = self._by_voxel()
        count = np.where(sums["count"] > 0, sums["count"], np.nan)
        if self.covariates.names:
            mean, variance, slope = self._regressed(np.broadcast_to(count, sums["sum"].shape))
        else:
            mean = sums["sum"] / count
            variance, slope = np.maximum(sums["squares"] / count - mean**2, 0), np.zeros((0, *mean.shape))
        known = ~np.isnan(variance)
        total = np.sum(np.where(known, variance, 0), axis=(1, 2, 3), keepdims=True)
        overall = total / np.maximum(known.sum((1, 2, 3), keepdims=True), 1)  # of a modality that nobody has: 0
        prior = self.config.prior_subjects
        return mean, (count * variance + prior * overall) / (count + prior), slope

    def _by_voxel(self) -> Arrays:
        """Sums of every voxel; of one in a parcel, the parcel's share of voxel and people alike."""
        sums, grid = self.sums("moments"), self.setting.shape
        if not self.setting.private:
            return sums
        each = np.maximum(self.parcels.voxels, 1)
        found = {}
        for name, array in sums.items():
            voxels = np.zeros((*array.shape[:-1], int(np.prod(grid))))
            voxels[..., self.parcels.brain] = np.moveaxis(self.parcels.at((array / each).T), 0, -1)
            found[name] = voxels.reshape(*array.shape[:-1], *grid)
        return found

    def _values(self, person: Cohort, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Normal voxels of a person's scans, and their intensities (n, C)."""
        for number in range(len(person)):
            scan = self._usable(person.scan(number))
            index, images = np.asarray(scan.normal_index), self._images(scan)
            yield index, images.reshape(len(images), -1)[:, index].T

    def _regressed(self, count: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, variance = np.full_like(count, np.nan), np.full_like(count, np.nan)
        slope = np.zeros((len(self.covariates.names), *count.shape))
        for channel, products in enumerate(self._products(self.sums("moments"))):
            where = np.isfinite(count[channel])
            found = slopes(products.at(where.ravel()), self.config.ridge)
            mean[channel][where], slope[:, channel][:, where], variance[channel][where] = found
        return mean, variance, slope

    def _products(self, sums: Arrays) -> list[Products]:
        """Of each modality."""
        p, found = len(self.covariates.names), []
        for channel in range(len(self.setting.modalities)):
            count, x = sums["count"], sums["covariates"]
            if self.setting.may_lack:
                count, x = count[channel], x[:, channel]
            x, xy = x.reshape(len(x), -1), sums["products"][:, channel].reshape(p, -1)
            y, yy = sums["sum"][channel].ravel(), sums["squares"][channel].ravel()
            found.append(Products(count.ravel(), y, yy, x[:p], x[p:], xy))
        return found

    def _check_covariates(self, sums: Arrays) -> None:
        """Covariates are no larger than people's, and all products those of people."""
        for products in self._products(sums):
            largest = self.covariates.largest()[:, None] * products.n
            if (np.abs(products.x) > largest * (1 + SUMS_ROUNDING)).any():
                raise WireError("sums are not of covariates that people have")
            check_products(products)

    def _usable(self, scan: Scan) -> Scan:
        """Only where the study says that scans may lack modalities are people counted for each."""
        return scan if self.setting.may_lack else self.with_every_modality(scan)


class _ChannelsFirst(ParcelMeans):
    """Laid out as the sums of voxels."""

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        """``count`` (P,), ``sum`` and ``squares`` (C, P)."""
        return {name: array.T for name, array in super().repaired(total, noise).items()}
