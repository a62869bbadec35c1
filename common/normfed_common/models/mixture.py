"""A mixture of classes of voxels, whatever their place: what no class explains is abnormal.

Arnaud et al. 2018 (IEEE TMI 37:1678); Oudoumanessah et al. 2023 (MICCAI, arXiv 2309.02311). A voxel's modalities are a
vector y; its classes are Gaussian or have heavy tails (`mixtures.classes`), fitted by expectation maximisation over sums:
every round a site sends those of the E-step over its normal voxels, and the M-step of their total is the pooled one. The
first phase sums moments, from which the classes start. With r = `Classes.proximity`, the score is

    log(1 + 1 / r)            proximity: 0 is typical, whatever the share of such voxels
    max log p - log p(y)      density, with a bound on the density for its maximum: rare classes are abnormal too

Several numbers of classes are fitted side by side, from the same voxels in the same rounds; the one that costs least
(`mixtures.selection`) scores. Their criteria are in `Mixture.choices`, and all their sums in the exported model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays, add, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.mixtures import online, selection, start
from normfed_common.models.mixtures.classes import Classes, Moments, check_moments, scatter
from normfed_common.models.mixtures.gaussian import Gaussian
from normfed_common.models.mixtures.multiple_scale_t import MultipleScaleT
from normfed_common.study.base import Frozen

DISTRIBUTIONS: dict[str, type[Classes]] = {"gaussian": Gaussian, "multiple-scale-t": MultipleScaleT}
LEAST_VARIANCE = 1e-12  # where all voxels have one value
LEAST_PROXIMITY = 1e-30
VOXELS_AT_ONCE = 16_384  # keep a scan's responsibilities in the processor's cache

ClassCount = Annotated[int, Field(ge=1, le=50)]


class MixtureConfig(Frozen):
    """Parameters of the mixture; published: 14 Gaussian classes, or about 10 with heavy tails, of three modalities."""

    distribution: Literal["gaussian", "multiple-scale-t"] = "gaussian"
    classes: ClassCount | tuple[ClassCount, ...] = Field(
        10, description="of voxels; of several numbers, such as [4, 6, 8, 10], the one with the lowest criterion scores"
    )
    criterion: Literal["bic", "slope"] = Field("bic", description="`slope` needs four numbers of classes")
    voxels_per_person: int = Field(20_000, ge=1, le=10_000_000, description="normal ones, of each visit")
    iterations: int = Field(100, ge=1, le=2000, description="at most; each is a round")
    tolerance: float = Field(
        1e-4, ge=0, le=1, description="ends when no voxel's mean log-likelihood rises by as much, whatever the classes"
    )
    online: bool = Field(False, description="a share of the voxels each round, all `iterations`, no `tolerance`")
    batch_share: float = Field(0.1, gt=0, le=1, description="of the voxels, drawn anew every round; `online` only")
    variance_floor: float = Field(
        1e-3, gt=0, le=1, description="least variance of a class, as a share of all voxels' mean over modalities"
    )
    score: Literal["proximity", "density"] = "proximity"

    @model_validator(mode="after")
    def _classes_can_be_chosen(self) -> MixtureConfig:
        if len(self.candidates) != len(set(self.candidates)) or not self.candidates:
            raise ValueError("classes must be different numbers, at least one")
        if self.criterion == "slope" and len(self.candidates) < selection.FEWEST_FOR_A_SLOPE:
            raise ValueError(f"the criterion slope needs at least {selection.FEWEST_FOR_A_SLOPE} numbers of classes")
        return self

    @property
    def candidates(self) -> tuple[int, ...]:
        """The numbers of classes that are fitted."""
        return (self.classes,) if isinstance(self.classes, int) else self.classes


class Mixture(NormativeModel):
    """See the module.

    Attributes
    ----------
    moments
        Of all voxels together; None before they are summed.
    fitted
        By number of classes, what the next round of sums begins with.
    averaged
        By number of classes, what scores: `fitted`, or with `online` what averaged sums make.
    choices
        The criteria of every number of classes, from the likelihood before the last M-step.
    """

    Config: ClassVar[type[Frozen]] = MixtureConfig

    def __init__(self, config: MixtureConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.kind = DISTRIBUTIONS[config.distribution]
        self.moments: Moments | None = None
        self.fitted: dict[int, Classes] = {}
        self.averaged: dict[int, Classes] = {}
        self.choices: tuple[selection.Choice, ...] = ()

    def phases(self) -> tuple[Phase, ...]:
        """Moments of all voxels, then expectation maximisation."""
        return Phase("moments", "summed"), Phase("em", "summed", rounds=self.config.iterations)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums over some normal voxels of every scan, the same ones in every round unless `online`.

        ``moments``: count, first (M,), second (M, M). ``em``: count, and for every number of classes K what
        `Classes.sums` returns, as ``K.name``; with `online` see `online.moved`.
        """
        scans = (self.with_every_modality(cohort.scan(index)) for index in range(len(cohort)))
        if phase == "moments":
            return add(_moments(self._voxels(scan)) for scan in scans)
        if not self.config.online:
            return add(self._expected(self._voxels(scan)) for scan in scans)
        batch = add(self._expected(self._batch(scan, rng)) for scan in scans)
        return online.moved(batch, self._sums.get(phase), self.config.iterations)

    def counted(self, phase: str) -> Mapping[str, float]:
        """A voxel counts once, and at most once in a class."""
        most = self.config.voxels_per_person
        found: dict[str, float] = {online.COUNT: most}
        if phase == "em":
            found |= {f"{prefix}responsibility": most for prefix in self._prefixes()}
            if self.config.online:
                found[online.STEPS] = most * self.config.iterations
        return found

    def check(self, phase: str, sums: Arrays) -> None:
        """Counts, moments and weights are those of values in the study's range, and no density is too high."""
        check_shapes(sums, {online.COUNT: ()})
        count, size = float(sums[online.COUNT]), len(self.setting.modalities)
        if not count > 0:
            raise WireError("the sums cover no people")
        if phase == "moments":
            check_shapes(sums, {"first": (size,), "second": (size, size)})
            check_moments(sums[online.COUNT], sums["first"], sums["second"], self.setting.value_range)
            return
        if self.config.online:
            self._check_steps(sums, count)
        peak = self._known_moments().log_peak
        for prefix, classes in self._prefixes().items():
            part = _part(sums, prefix)
            check_shapes(part, {"likelihood": ()})
            if not part["likelihood"] <= count * (peak + 1e-6 * (1 + abs(peak))):
                raise WireError("the likelihood is that of no class")
            if part.get("first", np.zeros(0)).shape[-1:] != (size,):
                raise WireError(f"there are no sums of {size} modalities")
            self.kind.check(part, count, classes, self.setting.value_range)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Starting classes from moments; an M-step from the rest, True if the likelihood rises no more."""
        super().absorb(phase, total)
        if phase == "moments":
            self.moments = self._moments_of(total)
            self.fitted = {k: self.kind.start(self.moments, start.means(self.moments, k)) for k in self._candidates()}
            self.averaged, self.choices = self.fitted, ()
            return False
        count, moments = float(total[online.COUNT]), self._known_moments()
        before = {choice.fit.classes: choice.fit.log_likelihood for choice in self.choices}
        made = {p: self.kind.of(_part(total, p), count, moments) for p in self._prefixes()}
        self.fitted = {k: made[f"{k}."] for k in self._candidates()}
        scoring = online.AVERAGE if self.config.online else ""
        self.averaged = {k: made[f"{scoring}{k}."] for k in self._candidates()}
        likelihoods = {k: float(total[f"{scoring}{k}.likelihood"]) for k in self._candidates()}
        size = len(self.setting.modalities)
        fits = [selection.Fit(k, value, self.kind.parameters(k, size)) for k, value in likelihoods.items()]
        self.choices = selection.choices(fits, count)
        enough = self.config.tolerance * count
        rises = (value - before.get(k, -np.inf) for k, value in likelihoods.items())
        return not self.config.online and all(rise < enough for rise in rises)

    @property
    def chosen(self) -> int:
        """The number of classes that scores; the first of the study's before anything is fitted."""
        if not self.choices:
            return self._candidates()[0]
        return selection.best(self.choices, self.config.criterion).classes

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """See the module."""
        scan = self.with_every_modality(visits[-1])
        classes = self.averaged[self.chosen]
        y = scan.images[:, scan.mask].astype(np.float64)
        found = np.zeros(y.shape[1])
        for rows in _chunks(y.shape[1]):
            if self.config.score == "proximity":
                found[rows] = np.log1p(1 / np.maximum(classes.proximity(y[:, rows]), LEAST_PROXIMITY))
            else:
                found[rows] = np.maximum(classes.highest_log_density - classes.log_density(y[:, rows]), 0)
        anomaly_map = np.zeros(scan.mask.shape, np.float32)
        anomaly_map[scan.mask] = found
        return Score(anomaly_map)

    def _candidates(self) -> tuple[int, ...]:
        found: tuple[int, ...] = self.config.candidates
        return found

    def _prefixes(self) -> dict[str, int]:
        """How the arrays of each number of classes begin."""
        kinds = ("", online.AVERAGE) if self.config.online else ("",)
        return {f"{kind}{classes}.": classes for kind in kinds for classes in self._candidates()}

    def _known_moments(self) -> Moments:
        if self.moments is None:
            raise WireError("there are no moments")
        return self.moments

    def _moments_of(self, total: Arrays) -> Moments:
        count = total[online.COUNT]
        covariance = scatter(count, total["first"], total["second"]) / count
        floor = self.config.variance_floor * float(np.trace(covariance)) / len(covariance)
        return Moments(total["first"] / count, covariance, max(floor, LEAST_VARIANCE))

    def _check_steps(self, sums: Arrays, count: float) -> None:
        check_shapes(sums, {online.STEPS: ()})
        steps = float(sums[online.STEPS]) / count
        if not 1 <= round(steps) <= self.config.iterations or abs(steps - round(steps)) > 1e-6:
            raise WireError("the sums are of no round")

    def _voxels(self, scan: Scan) -> np.ndarray:
        """float64 (M, n): as many as are asked for, the same whoever asks and whenever."""
        purpose = seeds.generator(self.setting.seed, "mixture voxels", len(scan.normal_index))
        return _drawn(scan, self.config.voxels_per_person, purpose)

    def _batch(self, scan: Scan, rng: np.random.Generator) -> np.ndarray:
        voxels = min(len(scan.normal_index), self.config.voxels_per_person)
        return _drawn(scan, max(1, round(self.config.batch_share * voxels)), rng)

    def _expected(self, y: np.ndarray) -> Arrays:
        """The sums of the E-step over voxels (M, n)."""
        parts = [y[:, rows] for rows in _chunks(y.shape[1])] or [y]
        found: Arrays = {online.COUNT: np.asarray(float(y.shape[1]))}
        for k, classes in self.fitted.items():
            found |= {f"{k}.{name}": array for name, array in add(classes.sums(part) for part in parts).items()}
        return found


def _drawn(scan: Scan, most: int, rng: np.random.Generator) -> np.ndarray:
    """Values (M, n) of at most so many normal voxels."""
    index = np.asarray(scan.normal_index)
    if len(index) > most:
        index = np.sort(rng.choice(index, most, replace=False, shuffle=False))
    x, y, z = np.unravel_index(index, scan.mask.shape)
    return scan.images[:, x, y, z].astype(np.float64)


def _moments(y: np.ndarray) -> Arrays:
    return {online.COUNT: np.asarray(float(y.shape[1])), "first": y.sum(1), "second": y @ y.T}


def _part(sums: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    """The arrays whose names begin so, without it."""
    return {name.removeprefix(prefix): array for name, array in sums.items() if name.startswith(prefix)}


def _chunks(voxels: int) -> list[slice]:
    return [slice(begin, begin + VOXELS_AT_ONCE) for begin in range(0, voxels, VOXELS_AT_ONCE)]
