"""Normative matched filter: how bright a voxel is, and how much of a blob of any size it has more than normal tissue.

    f = (G_1 y_1, ..., G_n y_1, G_1 y_2, ...)   robust units y_c of every modality, suspicious side up, after
                                               Gaussians inside the brain of n widths, of which 0 is the voxel itself
    m = max_r  s_r' S_v^-1 (f - m_v) / sqrt(s_r' S_v^-1 s_r)
    score = log(1 + e^(y + w m)),  y the units of the main modality, w the weight of what is learnt

m_v and S_v are mean and covariance of f in normal tissue at a place (see `place_gaussians`), from one set of sums: the
federated model is the pooled one, without rounds and without a seed. s_r is what a ball of radius r leaves of itself in
its centre after each Gaussian, a = r / sigma,

    erf(a / sqrt 2) - sqrt(2 / pi) a exp(-a^2 / 2),

for the main modality, and a share of it for the others. For a known r the second line is the best linear detector of
that ball (matched filter; North 1943), with unit variance in normal tissue; its maximum over r is the generalised
likelihood-ratio test of a ball of unknown size (Kay 1998, Detection Theory, 6.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator
from scipy.special import erf

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.place_gaussians import PlaceGaussians
from normfed_common.learning.score import Score
from normfed_common.learning.setting import SUMS_ROUNDING, Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.voxelwise.intensities import (
    UNITS,
    USUALLY,
    Suspicious,
    main_modality,
    never_negative,
    robust_units,
    smoothed_inside,
)
from normfed_common.study.base import Frozen

Millimetres = Annotated[float, Field(ge=0, le=50)]
LARGEST = max(abs(limit) for limit in UNITS)


class MatchedFilterConfig(Frozen):
    """Parameters of the matched filter."""

    modality: str | None = Field(
        None, description="the main one, whose units are the score's; FLAIR, else T2w, else the first of the study"
    )
    suspicious: dict[str, Suspicious] = Field(
        default_factory=dict, description="bright or dark by modality; when absent dark for T1w, else bright"
    )
    normative: float = Field(
        0.125, ge=0, le=100, description="weight of the detector; 0 leaves the main modality's units alone"
    )
    beside: float = Field(
        0.5, ge=0, le=10, description="how much of a lesion the other modalities show, as a share of the main one's"
    )
    scales_mm: tuple[Millimetres, ...] = Field(
        (0.0, 1.4, 2.4, 4.0, 7.0), min_length=1, max_length=8, description="standard deviations of the Gaussians"
    )
    radii_mm: tuple[Annotated[float, Field(gt=0, le=50)], ...] = Field(
        (1.6, 3.0, 6.0, 12.0, 20.0), min_length=1, max_length=16, description="of the balls that are looked for"
    )
    spacing_mm: float = Field(6.0, gt=0, description="edge of a place; 16 MB of sums a site at 6 mm, 160 MB at 2 mm")
    prior_voxels: float = Field(
        200.0, gt=0, le=1e9, description="worth of the covariance within all places, to which that of a place is drawn"
    )

    @field_validator("suspicious")
    @classmethod
    def _one_side(cls, sides: dict[str, Suspicious]) -> dict[str, Suspicious]:
        both = [name for name, side in sides.items() if side == "both"]
        if both:
            raise ValueError(f"{both[0]} must be bright or dark: a filter is matched to one of them")
        return sides


class MatchedFilter(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = MatchedFilterConfig
    config: MatchedFilterConfig

    def __init__(self, config: MatchedFilterConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.main = main_modality(config.modality, setting.modalities)
        for name in (self.main, *config.suspicious):
            if name not in setting.modalities:
                raise StudyError(
                    f"matched-filter: the study has no {name}, only {', '.join(setting.modalities)}. "
                    "Change it, or leave it out."
                )
        sides = {name: config.suspicious.get(name, USUALLY.get(name, "bright")) for name in setting.modalities}
        self.signs = np.array([-1.0 if side == "dark" else 1.0 for side in sides.values()], np.float32)
        self.gaussians = PlaceGaussians(
            len(setting.modalities) * len(config.scales_mm),
            setting,
            config.spacing_mm,
            config.prior_voxels,
            interpolated=True,
        )
        self._filters: dict[tuple[bool, ...], np.ndarray] = {}

    @classmethod
    def needs(cls, config: MatchedFilterConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """The main modality; without another the detector is that of those that are there."""
        return (main_modality(config.modality, modalities),)

    def phases(self) -> tuple[Phase, ...]:
        """Moments of every place."""
        return (Phase("moments", "summed"),)

    def places(self, phase: str) -> Places | None:
        """Those of the Gaussians."""
        return self.gaussians.places

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums of f and of f f' over the normal tissue of every place, of scans with every modality."""
        return self.gaussians.statistics(self._normal(cohort))

    def counted(self, phase: str) -> Mapping[str, float]:
        """Those of the Gaussians."""
        return self.gaussians.counted

    def check(self, phase: str, sums: Arrays) -> None:
        """Places have Gaussians, of values that units reach."""
        self.gaussians.check(sums)
        most = LARGEST * sums["count"][:, None] * (1 + SUMS_ROUNDING)
        squares = sums["products"][:, np.equal(*self.gaussians.upper)]
        if (np.abs(sums["sum"]) > most).any() or (squares > LARGEST * most).any():
            raise WireError("sums are not of intensities in robust units")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """The Gaussians, from which filters are made when a scan is scored."""
        super().absorb(phase, total)
        if not total["count"].any():
            raise WireError("sums cover nobody who has every modality")
        self.gaussians.absorb(total)
        self._filters = {}
        return False

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Brightness and detector, of what the scan has."""
        scan, main = self._with_main(visits[-1]), self.setting.modalities.index(self.main)
        index = np.flatnonzero(scan.mask)
        units = self._units(scan)
        suspicion = units[main].ravel()[index].astype(np.float64)
        if self.config.normative:
            suspicion += self.config.normative * self.detector(scan, units, index)
        anomaly = np.zeros(scan.mask.size, np.float32)
        anomaly[index] = never_negative(suspicion)
        return Score(anomaly.reshape(scan.mask.shape))

    def detector(self, scan: Scan, units: np.ndarray, index: np.ndarray) -> np.ndarray:
        """m at voxels (n,), float32 (n,).

        Parameters
        ----------
        units
            Of the scan, (C, X, Y, Z), suspicious side up.
        """
        there = np.repeat(scan.present, len(self.config.scales_mm))
        features = self._features(scan, units, index)[:, there]
        expected = self.gaussians.mean[:, None, there]
        here = self.gaussians.at(np.concatenate([self._matched(tuple(scan.present.tolist())), expected], 1), index)
        outputs = np.einsum("nrd,nd->nr", here[:, :-1], features - here[:, -1])
        best: np.ndarray = outputs.max(1)
        return best

    def signatures(self) -> np.ndarray:
        """s_r, float64 (radii, d): what a ball leaves in its centre after every Gaussian, in every modality."""
        radii, scales = np.array(self.config.radii_mm)[:, None], np.array(self.config.scales_mm)
        a = radii / np.maximum(scales, 1e-3 * radii)  # of the voxel itself nothing is lost, as of a = 1000
        left = erf(a / np.sqrt(2)) - np.sqrt(2 / np.pi) * a * np.exp(-(a**2) / 2)
        shares = [1.0 if name == self.main else self.config.beside for name in self.setting.modalities]
        return np.concatenate([share * left for share in shares], 1)

    def _matched(self, present: tuple[bool, ...]) -> np.ndarray:
        """S_v^-1 s_r / sqrt(s_r' S_v^-1 s_r) of the modalities that are there, float32 (rows, radii, d there)."""
        if present not in self._filters:
            there = np.repeat(present, len(self.config.scales_mm))
            spread = np.linalg.inv(self.gaussians.whitening.astype(np.float64))[:, there]
            covariance = spread @ spread.transpose(0, 2, 1)
            aims = self.signatures()[:, there].T
            filters = np.linalg.solve(covariance, np.broadcast_to(aims, (len(covariance), *aims.shape)))
            filters /= np.sqrt(np.einsum("vdr,dr->vr", filters, aims))[:, None]
            self._filters[present] = np.ascontiguousarray(filters.transpose(0, 2, 1), np.float32)
        return self._filters[present]

    def _normal(self, cohort: Cohort) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in range(len(cohort)):
            scan = self._with_main(cohort.scan(number))
            if scan.present.all():
                index = np.asarray(scan.normal_index)
                yield index, self._features(scan, self._units(scan), index)

    def _with_main(self, scan: Scan) -> Scan:
        """The scan; refused without the main modality, or one that the study says all scans have."""
        lacks_main = not scan.present[self.setting.modalities.index(self.main)]
        return self.with_every_modality(scan) if lacks_main or not self.setting.may_lack else scan

    def _units(self, scan: Scan) -> np.ndarray:
        """(C, X, Y, Z), suspicious side up."""
        return robust_units(scan.images, scan.mask, scan.present) * self.signs[:, None, None, None]

    def _features(self, scan: Scan, units: np.ndarray, index: np.ndarray) -> np.ndarray:
        """f at voxels (n,), float32 (n, d)."""
        size = self.setting.voxel_size_mm
        smoothed = (
            smoothed_inside(channel, scan.mask, scale / size) for channel in units for scale in self.config.scales_mm
        )
        return np.stack([volume.ravel()[index] for volume in smoothed], 1)
