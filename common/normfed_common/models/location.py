"""Latents of patches judged at their own place: the siamese model in closed form, exact by sums.

`patch_directions` makes latents z of patches; `place_gaussians` makes of them a mean and a covariance per place. The
score is the Mahalanobis distance D of z to the Gaussian of its place. Given age and sex a, it is the distance of z
to what is expected of people of that age and sex: of the whitened (a, z), whose W_v is triangular, the part of z alone,

    u = [W_v ((a, z) - m_v)]_z,  D = ||u||.

A site may put its own mean of u per place, drawn to 0, in the place of everybody's: a scanner's offset goes with it.
The covariance stays everybody's, with what differs between sites.

Uncertainty is the standard error of D by the delta method, as if all voxels that a person has at a place were one: of
P_v people, with w = n_v / (n_v + k) the weight of the place's own covariance and b the whitened a - m_v,

    se^2 = (1 + ||b||^2 + w^2 D^2 / 2) / P_v,

the first two terms from the mean, the last from the covariance. Where nobody is P_v counts as 1. As a person's voxels
differ, it is rather too large: twice the scatter over cohorts of six or seven real people at 6 mm.

Where sums leave with noise (`Setting.private`) directions are those of a spectrum (see `patch_spectrum`), means of
latents are those of parcels of the template (see `learning.parcels`), and all places have one covariance. That
is far less than the sums tell without: on real FLAIR an average precision of .06 instead of .18 before any noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.covariates import Covariates, Regressors
from normfed_common.learning.parcels import PARCELS, ParcelMeans, Parcels
from normfed_common.learning.phase import Phase
from normfed_common.learning.place_gaussians import LARGEST_DISTANCE, PlaceGaussians
from normfed_common.learning.scatter import check_semidefinite, symmetric
from normfed_common.learning.score import Score
from normfed_common.learning.setting import SUMS_ROUNDING, Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.patchwise.patch_directions import DirectionsConfig, PatchDirections
from normfed_common.scoring.base import Fields, LatentField
from normfed_common.scoring.catalogue import OneClassEntry, build_head
from normfed_common.study.base import Frozen
from normfed_common.study.preprocessing import GRID_MM3

LEAST_SPREAD = 1e-6  # of a latent over the brain
PATCHES, PLACES = "patches", "places"
ALONE = "The site has one person to train on: how people differ at one place is learnt at other sites alone."


@dataclass(frozen=True)
class _Own:
    """What a site keeps: per place its mean of u, drawn to 0, (L, d), the weight of that mean, and of how many people,
    (L,) both."""

    mean: np.ndarray
    weight: np.ndarray
    people: np.ndarray


class LocationConfig(DirectionsConfig):
    """Parameters of the model of latents per place; those below `one_class` are for the Gaussians alone."""

    one_class: OneClassEntry | None = Field(
        None, description="fit_on, a one-class score of the latents instead of the Gaussian of their place"
    )
    spacing_mm: float = Field(6.0, gt=0, le=1000, description="edge of a place; at 2 mm sums take 1 GB, at 6 mm 40 MB")
    prior_voxels: float = Field(
        20.0, gt=0, le=1e9, description="worth of the covariance within all places, to which that of a place is drawn"
    )
    smoothing: float = Field(0.0, ge=0, le=10, description="sd, in places, by which sums are spread over neighbours")
    interpolate: bool = Field(
        True, description="Gaussians between the centres of places are interpolated; else one for all of a place"
    )
    centre: Literal["shared", "site"] = Field("shared", description="`site`: a site's own means, kept there")
    regress: Regressors = Field((), description="age, sex or both, within the range of ages that training people cover")
    clip: float | None = Field(
        None, ge=1, le=100, description="latents beyond so many sd over the brain count as that many (winsorised sums)"
    )

    @model_validator(mode="after")
    def _of_gaussians(self) -> LocationConfig:
        fields = type(self).model_fields
        ours = list(fields)[list(fields).index("one_class") + 1 :]
        given = [name for name in ours if getattr(self, name) != fields[name].default]
        if self.one_class is not None and given:
            raise ValueError(f"{given[0]} says nothing of a one_class score; leave one of them out")
        return self


class Location(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = LocationConfig
    cited: ClassVar[tuple[str, ...]] = ("alaverdyan2020",)
    config: LocationConfig

    def __init__(self, config: LocationConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.encoder = PatchDirections(config.patch_size, config.latents, config.pairs_per_subject, setting)
        self.head = None if config.one_class is None else build_head(config.one_class, config.latents, setting)
        self.covariates = Covariates(config.regress) if config.regress else None
        self.known, self.age_and_sex = len(config.regress), bool(config.regress)
        self.gaussians = PlaceGaussians(
            self.known + config.latents,
            setting,
            config.spacing_mm,
            config.prior_voxels,
            config.smoothing,
            config.interpolate,
        )
        self.parcels = Parcels(setting)
        self.keeps_to_site = config.centre == "site" if self.head is None else self.head.keeps_to_site
        self.own: _Own | None = None

    def phases(self) -> tuple[Phase, ...]:
        """The directions, then what is made of latents."""
        return Phase(PATCHES, "summed"), *([Phase(PLACES, "summed")] if self.head is None else self.head.phases())

    def notes(self, people: int) -> tuple[str, ...]:
        """Whether there are pairs."""
        return (ALONE,) if people == 1 else ()

    def places(self, phase: str) -> Places | None:
        """None of the patches; those of the Gaussians."""
        if phase == PATCHES or self.setting.private:
            return None
        return self.gaussians.places if self.head is None else self.head.places(phase)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Patches and pairs that are drawn, with ages and sexes; or sums of latents over normal tissue of every place,
        with `people` (L,), of whom some is there."""
        if phase == PATCHES:
            ages = {} if self.covariates is None else self.covariates.statistics(cohort)
            return self.encoder.statistics(cohort, self.with_every_modality, rng) | ages
        if self.head is not None:
            return self.head.statistics(phase, Fields(partial(self._fields, cohort)), rng)
        people = np.zeros(int(np.prod(self.gaussians.cells)))
        return self.gaussians.statistics(self._vectors(cohort, people)) | {"people": people}

    def bounded(self, phase: str) -> Bounded | None:
        """A spectrum of patches, then means of latents; neither regression nor another score."""
        if self.covariates is not None or self.head is not None or self.setting.may_lack:
            return None
        if phase == PATCHES:
            return self.encoder.bounded(self.with_every_modality)
        spread = np.sqrt(getattr(self.encoder, "eigenvalues", np.ones(self.config.latents)))
        return ParcelMeans(self.parcels, self._latents, np.maximum(spread, LEAST_SPREAD), products=True)

    def counted(self, phase: str) -> Mapping[str, float]:
        """Patches and pairs, or voxels and people at a place."""
        if self.setting.private and phase == PLACES:
            return {"count": GRID_MM3 / self.setting.voxel_size_mm**3}
        if phase == PATCHES:
            return {**self.encoder.counted, **({} if self.covariates is None else self.covariates.counted())}
        return self.gaussians.counted | {"people": 1} if self.head is None else self.head.counted(phase)

    def check(self, phase: str, sums: Arrays) -> None:
        """Patches are in the study's range, and latents within what such patches can have."""
        if phase == PATCHES:
            self.encoder.check(sums)
            if self.covariates is not None:
                self.covariates.check(sums)
        elif self.head is not None:
            self.head.check(phase, sums)
        elif self.setting.private:
            d = self.config.latents
            check_shapes(sums, {"count": (PARCELS,), "sum": (PARCELS, d), "products": (d * (d + 1) // 2,)})
            check_semidefinite(symmetric(sums["products"], d), float(np.abs(sums["products"]).sum()))
            if (sums["count"] < 0).any():
                raise WireError("counts are below 0")
        else:
            self.gaussians.check(sums)
            self._check_latents(sums)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Make the directions, or the Gaussians."""
        super().absorb(phase, total)
        if phase == PATCHES:
            self.encoder.absorb(total)
            if self.covariates is not None:
                self.covariates.absorb(total)
            return False
        if self.head is not None:
            return self.head.absorb(phase, total)
        if self.setting.private:
            if not self.parcels.known:
                return False
            total = self._by_place(total)
        self.gaussians.absorb(total)
        self.people = total["people"]
        self.own = None
        return False

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """The site's own mean of u per place, or what the one-class score keeps."""
        if self.head is not None:
            self.head.personalise(Fields(partial(self._fields, cohort)), len(cohort.people()), rng)
            return
        size, people = int(np.prod(self.gaussians.cells)), np.zeros(int(np.prod(self.gaussians.cells)))
        count, total = np.zeros(size), np.zeros((size, self.config.latents))
        for index, vectors in self._vectors(cohort, people):
            where, white = self.gaussians.cell_of(index), self.gaussians.whitened(vectors, index)[:, self.known :]
            count += np.bincount(where, minlength=size)
            for axis, column in enumerate(white.T):
                total[:, axis] += np.bincount(where, column, size)
        weight = count + self.config.prior_voxels
        self.own = _Own((total / weight[:, None]).astype(np.float32), count / weight, people)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The distance of every voxel's latents to their place's Gaussian, with its standard error."""
        scan = self.with_every_modality(visits[-1])
        index = np.flatnonzero(scan.mask)
        latents = self.encoder.encode(scan, index)
        anomaly = np.zeros(scan.mask.size, np.float32)
        if self.head is not None:
            field = LatentField(
                torch.from_numpy(latents), index, scan.mask.shape, scan.person.index, scan.person.scanner
            )
            anomaly[index] = self.head.score(field, rng)
            return Score(anomaly.reshape(scan.mask.shape))
        white = self.gaussians.whitened(self._with_covariates(latents, scan.person), index)
        known, white = white[:, : self.known], white[:, self.known :]
        if self.own is not None:
            white = white - self.own.mean[self.gaussians.cell_of(index)]
        distance = np.fmin(np.sqrt((white.astype(np.float64) ** 2).sum(1)), LARGEST_DISTANCE)
        uncertainty = anomaly.copy()
        anomaly[index] = distance
        uncertainty[index] = self._standard_error(distance, (known.astype(np.float64) ** 2).sum(1), index)
        return Score(anomaly.reshape(scan.mask.shape), uncertainty.reshape(scan.mask.shape))

    def _standard_error(self, distance: np.ndarray, leverage: np.ndarray, index: np.ndarray) -> np.ndarray:
        """See the module. With w_s the weight of the site's own mean of P_s people, the mean's part is
        w_s^2 / P_s + (1 - w_s)^2 / P_v."""
        where = self.gaussians.cell_of(index)
        people = np.maximum(self.people[where], 1)
        mean = 1 / people
        if self.own is not None:
            weight = self.own.weight[where]
            mean = weight**2 / np.maximum(self.own.people[where], 1) + (1 - weight) ** 2 * mean
        count = self.gaussians.count_at(index)
        covariance = (count / (count + self.config.prior_voxels)) ** 2 / 2
        error: np.ndarray = np.sqrt(mean + (leverage + covariance * distance**2) / people)
        return error

    def _check_latents(self, sums: Arrays) -> None:
        count, people = sums["count"], sums.get("people", np.zeros(0))
        check_shapes(sums, {"people": count.shape})
        if (people < 0).any() or (people > count * (1 + SUMS_ROUNDING)).any() or (people[count > 0] == 0).any():
            raise WireError("there are voxels of nobody, or people without a voxel")
        bounds = np.append(np.zeros(0) if self.covariates is None else self.covariates.largest(), self._bounds()) * (
            1 + SUMS_ROUNDING
        )
        squares = sums["products"][:, np.equal(*self.gaussians.upper)]
        if (np.abs(sums["sum"]) > count[:, None] * bounds).any() or (squares > count[:, None] * bounds**2).any():
            raise WireError("latents are not those of patches in the study's range")

    def _bounds(self) -> np.ndarray:
        """(latents,): what latents in sums are at most, by magnitude."""
        bounds = self.encoder.bounds
        return bounds if self.config.clip is None else np.minimum(bounds, self._clipped_at())

    def _clipped_at(self) -> np.ndarray:
        assert self.config.clip is not None
        return self.config.clip * np.sqrt(self.encoder.eigenvalues)

    def _fields(self, cohort: Cohort) -> Iterator[LatentField]:
        """Latents of normal tissue, scan by scan."""
        for number in range(len(cohort)):
            scan = self.with_every_modality(cohort.scan(number))
            index = np.asarray(scan.normal_index)
            latents = torch.from_numpy(self.encoder.encode(scan, index))
            yield LatentField(latents, index, scan.mask.shape, scan.person.index, scan.person.scanner)

    def _vectors(self, cohort: Cohort, people: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Voxels of normal tissue and their (a, z), scan by scan; adds each person to the places where they have it."""
        for visits in cohort.people():
            there = np.zeros(len(people), bool)
            for number in visits:
                scan = self.with_every_modality(cohort.scan(number))
                index = np.asarray(scan.normal_index)
                latents = self.encoder.encode(scan, index)
                if self.config.clip is not None:
                    latents = np.clip(latents, -self._clipped_at(), self._clipped_at())
                there[self.gaussians.cell_of(index)] = True
                yield index, self._with_covariates(latents, scan.person)
            people += there

    def _latents(self, person: Cohort, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Voxels of normal tissue of a person's scans, and their latents (n, d)."""
        for number in range(len(person)):
            scan = self.with_every_modality(person.scan(number))
            index = np.asarray(scan.normal_index)
            yield index, self.encoder.encode(scan, index)

    def _by_place(self, sums: Arrays) -> Arrays:
        """Sums at places, as if everybody had the mean latents of all parcels, and one covariance around them."""
        index = self.parcels.brain
        expected = sums["sum"] / np.maximum(sums["count"], np.finfo(np.float64).tiny)[:, None]
        found = self.gaussians.statistics([(index, self.parcels.at(expected))])
        people = sums["count"].sum() / len(index)
        within = found["count"][:, None] * sums["products"] / sums["count"].sum()
        first = found["sum"]
        rows, columns = self.gaussians.upper
        known = np.maximum(found["count"], 1)[:, None]
        found["products"] = first[:, rows] * first[:, columns] / known + within
        return {**{name: people * array for name, array in found.items()}, "people": people * (found["count"] > 0)}

    def _with_covariates(self, latents: np.ndarray, person: Person) -> np.ndarray:
        """(n, known + latents)."""
        if self.covariates is None:
            return latents
        return np.concatenate([np.tile(self.covariates.design(person), (len(latents), 1)), latents], 1)
