"""A mixture of classes of voxels, whatever their place: what no class explains is abnormal.

Arnaud et al. 2018 (IEEE TMI 37:1678); Oudoumanessah et al. 2023 (MICCAI, arXiv 2309.02311). A voxel's modalities are a
vector y; its classes, Gaussian or with heavy tails (`mixtures.classes`), are fitted by expectation maximisation: every
round a site sends the sums of the E-step over its normal voxels, and the M-step of their total is the pooled one. The
first phases sum moments, from which the classes start (`mixtures.start`). With r = `Classes.proximity`, the score is

    max log p - log p(y)      density, with a bound on the density for its maximum: rare classes are abnormal too
    log(1 + 1 / r)            proximity: abnormal is only what is so along every axis of its classes

Several numbers of classes are fitted side by side, from the same voxels in the same rounds; the one that costs least
(`mixtures.selection`) scores. Their criteria are in `Mixture.choices`, and all their sums in the exported model.

Where sums leave with noise (`Setting.private`) a site sends a histogram of its voxels, once, and everybody fits the
same classes to voxels drawn from that of all sites: noise in every round would be noise a hundred times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays, add, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import SUMS_ROUNDING, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.mixtures import online, selection, start, voxels
from normfed_common.models.mixtures.classes import Classes, Moments, check_moments, scatter
from normfed_common.models.mixtures.gaussian import Gaussian
from normfed_common.models.mixtures.histogram import HISTOGRAM, VoxelHistogram
from normfed_common.models.mixtures.multiple_scale_t import MultipleScaleT
from normfed_common.study.base import Frozen

DISTRIBUTIONS: dict[str, type[Classes]] = {"gaussian": Gaussian, "multiple-scale-t": MultipleScaleT}
LEAST_VARIANCE = 1e-12  # where all voxels have one value
LEAST_PROXIMITY = 1e-30

ClassCount = Annotated[int, Field(ge=1, le=50)]


class MixtureConfig(Frozen):
    """Parameters of the mixture; published: 14 Gaussian classes, or about 10 with heavy tails, of three modalities."""

    distribution: Literal["gaussian", "multiple-scale-t"] = Field(
        "gaussian", description="of a class; multiple-scale-t has a tail of its own in every direction"
    )
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
    score: Literal["density", "proximity"] = Field("density", description="`proximity` is the published one")

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
    means, spreads
        By number of classes, the means whose nearest voxels are summed next, and the sum of squares around the last.
    fitted
        By number of classes, what the next round of sums begins with.
    averaged
        By number of classes, what scores: `fitted`, or with `online` what averaged sums make.
    choices
        The criteria of every number of classes, from the likelihood before the last M-step; with `online` of as many
        voxels as a round has.
    """

    Config: ClassVar[type[Frozen]] = MixtureConfig
    cited: ClassVar[tuple[str, ...]] = ("arnaud2018", "oudoumanessah2023")

    def __init__(self, config: MixtureConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.kind = DISTRIBUTIONS[config.distribution]
        self.moments: Moments | None = None
        self.means: dict[int, np.ndarray] = {}
        self.spreads: dict[int, float] = {}
        self.fitted: dict[int, Classes] = {}
        self.averaged: dict[int, Classes] = {}
        self.choices: tuple[selection.Choice, ...] = ()
        self.histogram = VoxelHistogram(len(setting.modalities), setting.value_range, self._normal)

    def phases(self) -> tuple[Phase, ...]:
        """Moments of all voxels, then of those nearest to K means, then expectation maximisation."""
        if self.setting.private:
            return (Phase(HISTOGRAM, "summed"),)
        return (
            Phase("moments", "summed"),
            Phase("nearest", "summed", rounds=start.ROUNDS),
            Phase("em", "summed", rounds=self.config.iterations),
        )

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums over some normal voxels of every scan, the same ones in every round unless `online`.

        ``moments``: count, first (M,), second (M, M). ``nearest`` and ``em``: count, and for every number of classes K
        what `start.nearest` or `Classes.sums` returns, as ``K.name``; with `online`, ``em`` is as `online.moved` says.
        """
        scans = (self.with_every_modality(cohort.scan(index)) for index in range(len(cohort)))
        if phase == "moments":
            return add(voxels.moments(self._voxels(scan)) for scan in scans)
        parts, whose = [], []
        of_classes: Mapping[int, Callable[[np.ndarray], Arrays]]
        if phase == "nearest":
            of_classes = {k: partial(start.nearest, means) for k, means in self.means.items()}
        else:
            of_classes = {k: classes.sums for k, classes in self.fitted.items()}
        draw = partial(self._batch, rng=rng) if self.config.online else self._voxels
        for scan in scans:
            parts.append(voxels.summed(of_classes, draw(scan)))
            whose.append(scan.person.index)
        found = self._told(parts, np.array(whose))
        if phase == "em" and self.config.online:
            return online.moved(found, self._sums.get(phase), self.config.iterations)
        return found

    def bounded(self, phase: str) -> Bounded | None:
        """A histogram, of people who have every modality."""
        if self.setting.may_lack or self.config.online:
            return None
        return self.histogram

    def counted(self, phase: str) -> Mapping[str, float]:
        """A voxel counts once, and at most once in a class."""
        if phase == HISTOGRAM:
            return {voxels.COUNT: 1, HISTOGRAM: 1}
        most = self.config.voxels_per_person
        found: dict[str, float] = {voxels.COUNT: most}
        if phase != "moments":
            found |= {f"{prefix}responsibility": most for prefix in self._prefixes(phase)}
        if phase == "em" and self.config.online:
            found[online.STEPS] = most * self.config.iterations
        return found

    def check(self, phase: str, sums: Arrays) -> None:
        """Counts, moments and weights are those of values in the study's range, and no density is too high."""
        check_shapes(sums, {voxels.COUNT: ()})
        count, size, values = float(sums[voxels.COUNT]), len(self.setting.modalities), self.setting.value_range
        if not count > 0:
            raise WireError("the sums cover no people")
        if phase == HISTOGRAM:
            self.histogram.check(sums)
            return
        if phase == "moments":
            check_shapes(sums, {"first": (size,), "second": (size, size)})
            check_moments(sums[voxels.COUNT], sums["first"], sums["second"], values)
            return
        if phase == "em":
            self._check_rounds(sums, count)
        for prefix, classes in self._prefixes(phase).items():
            part = voxels.part(sums, prefix)
            if part.get("first", np.zeros(0)).shape[-1:] != (size,):
                raise WireError(f"there are no sums of {size} modalities")
            (Gaussian if phase == "nearest" else self.kind).check(part, count, classes, values)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """The next means from the voxels nearest to each, or the next classes by an M-step.

        True if the squared distances to the means shrink, or the likelihood rises, by next to nothing.
        """
        super().absorb(phase, total)
        return self._fit(total) if phase == HISTOGRAM else self._learn(phase, total)

    def _learn(self, phase: str, total: Arrays) -> bool:
        if phase == "moments":
            self.moments, self.spreads, self.choices = self._moments_of(total), {}, ()
            self.means = {k: start.first_means(self.moments, k) for k in self.config.candidates}
            return False
        count, moments = float(total[voxels.COUNT]), self._known_moments()
        parts = {prefix: voxels.part(total, prefix) for prefix in self._prefixes(phase)}
        if phase == "nearest":
            return self._begin(parts, count, moments)
        made = {prefix: self.kind.of(part, count, moments) for prefix, part in parts.items()}
        scoring = online.AVERAGE if self.config.online else ""
        self.fitted = {k: made[f"{k}."] for k in self.config.candidates}
        self.averaged = {k: made[f"{scoring}{k}."] for k in self.config.candidates}
        return self._choose({k: float(parts[f"{scoring}{k}."]["likelihood"]) for k in self.config.candidates}, count)

    @property
    def chosen(self) -> int:
        """The number of classes that scores; the first of the study's before anything is fitted."""
        if not self.choices:
            return int(self.config.candidates[0])
        return selection.best(self.choices, self.config.criterion).classes

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """See the module."""
        scan = self.with_every_modality(visits[-1])
        classes = self.averaged[self.chosen]
        y = scan.images[:, scan.mask].astype(np.float64)
        found = np.zeros(y.shape[1])
        for rows in voxels.chunks(y.shape[1]):
            if self.config.score == "proximity":
                found[rows] = np.log1p(1 / np.maximum(classes.proximity(y[:, rows]), LEAST_PROXIMITY))
            else:
                found[rows] = np.maximum(classes.highest_log_density - classes.log_density(y[:, rows]), 0)
        anomaly_map = np.zeros(scan.mask.shape, np.float32)
        anomaly_map[scan.mask] = found
        return Score(anomaly_map)

    def _fit(self, total: Arrays) -> bool:
        """All phases, of voxels drawn from a histogram of everybody's."""
        y = self.histogram.drawn(total, seeds.generator(self.setting.seed, "voxels of a histogram"))
        self._learn("moments", voxels.moments(y))
        for _ in range(start.ROUNDS):
            if self._learn("nearest", voxels.summed({k: partial(start.nearest, m) for k, m in self.means.items()}, y)):
                break
        for _ in range(self.config.iterations):
            if self._learn("em", voxels.summed({k: classes.sums for k, classes in self.fitted.items()}, y)):
                break
        return False

    def _told(self, parts: Sequence[Arrays], whose: np.ndarray) -> Arrays:
        """The sums of scans, of the people (scans,), as they may leave: means can be made up that one voxel is near."""
        found, minimum = add(parts), self.setting.told_together
        for classes in self.config.candidates if minimum > 1 else ():
            shares = np.stack([part[f"{classes}.responsibility"] for part in parts])
            of_people = np.stack([shares[whose == person].sum(0) for person in np.unique(whose)])
            found = voxels.of_enough_people(found, of_people, f"{classes}.", minimum)
        return found

    def _prefixes(self, phase: str) -> dict[str, int]:
        """How the arrays of each number of classes begin."""
        kinds = ("", online.AVERAGE) if self.config.online and phase == "em" else ("",)
        return {f"{kind}{classes}.": classes for kind in kinds for classes in self.config.candidates}

    def _begin(self, parts: Mapping[str, Arrays], count: float, moments: Moments) -> bool:
        """Means and classes of the voxels nearest to each mean; whether the spread shrinks no more."""
        before, of = self.spreads, {k: parts[f"{k}."] for k in self.config.candidates}
        self.means = {k: start.next_means(sums, moments) for k, sums in of.items()}
        self.spreads = {k: start.spread(sums) for k, sums in of.items()}
        self.fitted = {k: self.kind.start(sums, count, moments) for k, sums in of.items()}
        self.averaged = self.fitted
        return all(spread > (1 - start.ENOUGH) * before.get(k, np.inf) for k, spread in self.spreads.items())

    def _choose(self, likelihoods: Mapping[int, float], count: float) -> bool:
        """The criteria of all numbers of classes; whether the likelihood rises no more."""
        before = {choice.fit.classes: choice.fit.log_likelihood for choice in self.choices}
        size = len(self.setting.modalities)
        fits = [selection.Fit(k, value, self.kind.parameters(k, size)) for k, value in likelihoods.items()]
        self.choices = selection.choices(fits, count)
        rises = (value - before.get(k, -np.inf) for k, value in likelihoods.items())
        return not self.config.online and all(rise < self.config.tolerance * count for rise in rises)

    def _known_moments(self) -> Moments:
        if self.moments is None:
            raise WireError("there are no moments")
        return self.moments

    def _moments_of(self, total: Arrays) -> Moments:
        count = total[voxels.COUNT]
        covariance = scatter(count, total["first"], total["second"]) / count
        floor = self.config.variance_floor * float(np.trace(covariance)) / len(covariance)
        return Moments(total["first"] / count, covariance, max(floor, LEAST_VARIANCE))

    def _check_rounds(self, sums: Arrays, count: float) -> None:
        """Likelihoods that classes can have, and with `online` rounds that there can be."""
        peak = self._known_moments().log_peak
        for prefix in self._prefixes("em"):
            check_shapes(sums, {f"{prefix}likelihood": ()})
            if not sums[f"{prefix}likelihood"] <= count * (peak + SUMS_ROUNDING * (1 + abs(peak))):
                raise WireError("the likelihood is that of no class")
        if self.config.online:
            check_shapes(sums, {online.STEPS: ()})
            # Not the quotient: of next to no voxels it overflows.
            if not 0.5 * count <= sums[online.STEPS] <= (self.config.iterations + 0.5) * count:
                raise WireError("the sums are of no round")

    def _normal(self, person: Cohort) -> np.ndarray:
        """All normal voxels of a person, float64 (M, n)."""
        scans = (self.with_every_modality(person.scan(number)) for number in range(len(person)))
        return np.concatenate([voxels.drawn(scan, scan.mask.size, np.random.default_rng(0)) for scan in scans], 1)

    def _voxels(self, scan: Scan) -> np.ndarray:
        """float64 (M, n): as many as are asked for, the same whoever asks and whenever."""
        purpose = seeds.generator(self.setting.seed, "mixture voxels", len(scan.normal_index))
        return voxels.drawn(scan, self.config.voxels_per_person, purpose)

    def _batch(self, scan: Scan, rng: np.random.Generator) -> np.ndarray:
        """float64 (M, n): a share of as many, others in every round."""
        most = min(len(scan.normal_index), self.config.voxels_per_person)
        return voxels.drawn(scan, max(1, round(self.config.batch_share * most)), rng)
