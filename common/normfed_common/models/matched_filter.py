"""Normative matched filter: how bright a voxel is, and how much of a blob of any size it has more than normal tissue.

    f = (G_1 y_1, ..., G_n y_1, G_1 y_2, ...)   robust units y_c of every modality, suspicious side up, after
                                               Gaussians inside the brain of n widths, of which 0 is the voxel itself
    m = max_r  s_r' S_v^-1 (f - m_v) / sqrt(s_r' S_v^-1 s_r)
    score = log(1 + e^(y + w m)),  y the units of the main modality, w the weight of what is learnt

m_v is the mean of f in normal tissue at a place (see `place_gaussians`), from one set of sums: the federated model is
the pooled one, without rounds and without a seed. S_v is 1, white noise, or the covariance of f there. White is the
default: on real scans of other sites a learnt covariance, which is the scanner's, cost more than it told
(`bench_models`). s_r is what a ball of radius r leaves of itself in its centre after each Gaussian, a = r / sigma,

    erf(a / sqrt 2) - sqrt(2 / pi) a exp(-a^2 / 2),

for the main modality, and a share of it for the others. Where S_v is the covariance, the second line is for a known r
the best linear detector of that ball (matched filter; North 1943), with unit variance in normal tissue; its maximum
over r is the generalised likelihood-ratio test of a ball of unknown size (Kay 1998, Detection Theory, 6.4). With white
noise it is a correlation with the ball, in robust units, and its variance in normal tissue depends on r.

Whether a scan is like those learnt from is asked of every modality that counts, before it does. A scan of the same
people has its mean of y_c at a place outside the prediction interval of `PlaceGaussians` with probability p = q / 20.
However places hang together, by Markov's inequality at most 5 % of such scans are outside at more than a share q of
their brain: a modality that is, is unlike, and is left out of f as if it were absent. The main one cannot be left out:
that is only told. Lesions count for no more than the places that they reach into. Sums `by-site` count the scans of a
small site more than once, and more scans may then be beyond the limit than is promised.

Where sums leave with noise (`Setting.private`) they are of y alone, over parcels of the template (see
`learning.parcels`): the mean of f is what the Gaussians make of the mean of y. Noise is white then, and nothing is told
of how unlike a scan is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.special import erf

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.parcels import PARCELS, ParcelMeans, Parcels
from normfed_common.learning.phase import Phase
from normfed_common.learning.place_gaussians import PlaceGaussians
from normfed_common.learning.score import Score
from normfed_common.learning.setting import SUMS_ROUNDING, Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.voxelwise.intensities import (
    UNITS,
    Side,
    main_and_signs,
    main_modality,
    never_negative,
    robust_units,
    smoothed_inside,
)
from normfed_common.models.voxelwise.usual import centre_of, usual
from normfed_common.study.base import Frozen
from normfed_common.study.preprocessing import GRID_MM3

Millimetres = Annotated[float, Field(ge=0, le=50)]
LARGEST = max(abs(limit) for limit in UNITS)
RANGE = (-LARGEST, LARGEST)  # of units that may have been turned round
UNLIKE_BY_CHANCE = 0.05  # of scans of the same people, at most


class MatchedFilterConfig(Frozen):
    """Parameters of the matched filter."""

    modality: str | None = Field(
        None,
        description="the main one, whose units are the score's; when absent FLAIR, else T2w, else the study's first",
    )
    suspicious: dict[str, Side] = Field(
        default_factory=dict, description="bright or dark by modality; when absent dark for T1w and FA, else bright"
    )
    noise: Literal["white", "learnt"] = Field(
        "white", description="what normal tissue is but for its mean: alike at every scale, or as its covariance says"
    )
    normative: float = Field(
        0.125, ge=0, le=100, description="weight of the detector; 0 leaves the main modality's units alone"
    )
    beside: float = Field(
        0.0,
        ge=0,
        le=10,
        description="how much of a lesion the other modalities show, as a share of the main one's; at 0 they count "
        "through a learnt covariance only",
    )
    scales_mm: tuple[Millimetres, ...] = Field(
        (0.0, 1.4, 2.4, 4.0, 7.0), min_length=1, max_length=8, description="standard deviations of the Gaussians"
    )
    radii_mm: tuple[Annotated[float, Field(gt=0, le=50)], ...] = Field(
        (1.6, 3.0, 6.0, 12.0, 20.0), min_length=1, max_length=16, description="of the balls that are looked for"
    )
    spacing_mm: float = Field(
        6.0,
        gt=0,
        le=1000,
        description="edge of a place; 1.6 MB of sums per site at 6 mm, 42 MB at 2 mm; of two modalities with learnt "
        "noise 16 and 410 MB",
    )
    prior_voxels: float = Field(
        200.0,
        gt=0,
        le=1e9,
        description="worth of the covariance within all places, to which a learnt one of a place is drawn",
    )

    unlike: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the brain above which a modality that is unlike the learnt one counts as absent, and the "
        "main one is reported; 1 never",
    )


class MatchedFilter(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = MatchedFilterConfig
    cited: ClassVar[tuple[str, ...]] = ("north1943", "kay1998")
    config: MatchedFilterConfig

    def __init__(self, config: MatchedFilterConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        modalities = setting.modalities
        self.main, self.signs = main_and_signs("matched-filter", config.modality, config.suspicious, modalities)
        self.used = np.array([name == self.main or self._learnt or config.beside > 0 for name in modalities])
        self.names = tuple(name for name, used in zip(modalities, self.used, strict=True) if used)
        scales = len(config.scales_mm)
        # Of the sharpest: the mean over a place is nearly the same after every Gaussian that is smaller.
        self.sharpest = np.arange(len(self.names)) * scales + int(np.argmin(config.scales_mm))
        self.gaussians = PlaceGaussians(
            len(self.names) * scales,
            setting,
            config.spacing_mm,
            config.prior_voxels,
            interpolated=True,
            covariances=self._learnt,
            between=self.sharpest.tolist() if self._asks_unlike else (),
        )
        self.parcels = Parcels(setting)
        self._filters: dict[tuple[bool, ...], np.ndarray] = {}

    @property
    def _learnt(self) -> bool:
        return self.config.noise == "learnt"

    @property
    def _asks_unlike(self) -> bool:
        return self.config.unlike < 1 and not self.setting.private

    @classmethod
    def draws(cls, config: MatchedFilterConfig) -> bool:
        """Nothing: sums are over all people and all their normal tissue."""
        return False

    @classmethod
    def needs(cls, config: MatchedFilterConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """The main modality; without another the detector is that of those that are there."""
        return (main_modality(config.modality, modalities),)

    def phases(self) -> tuple[Phase, ...]:
        """Moments of every place."""
        return (Phase("moments", "summed"),)

    def places(self, phase: str) -> Places | None:
        """Those of the Gaussians; none of parcels."""
        return None if self.setting.private else self.gaussians.places

    def bounded(self, phase: str) -> Bounded | None:
        """Means of parcels, of people who have every modality that counts; no covariances."""
        if self._learnt or self.setting.may_lack:
            return None
        of = [one for one, used in zip(usual(self.setting, "robust"), self.used, strict=True) if used]
        signs = self.signs[self.used]

        def centre() -> np.ndarray:
            return centre_of(self.parcels, of) * signs

        return ParcelMeans(self.parcels, self._units_of_normal, np.array([one.away for one in of]), RANGE, centre)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums of f, of f f' where noise is learnt, and of scans' squared means, over the normal tissue of every place.

        Of scans with all that f needs."""
        return self.gaussians.statistics(self._normal(cohort))

    def counted(self, phase: str) -> Mapping[str, float]:
        """Those of the Gaussians, and squared units over the voxels of a place."""
        if self.setting.private:
            return {"count": GRID_MM3 / self.setting.voxel_size_mm**3}
        between = {"between": LARGEST**2 * self.gaussians.cell**3} if self._asks_unlike else {}
        return {**self.gaussians.counted, **between}

    def check(self, phase: str, sums: Arrays) -> None:
        """Places have means, and Gaussians where noise is learnt, of values that units reach."""
        if self.setting.private:
            check_shapes(sums, {"count": (PARCELS,), "sum": (PARCELS, len(self.names))})
            if (sums["count"] < 0).any():
                raise WireError("counts are below 0")
        else:
            self.gaussians.check(sums)
        most = LARGEST * sums["count"][:, None] * (1 + SUMS_ROUNDING)
        beyond = (np.abs(sums["sum"]) > most).any()
        if self._learnt:
            beyond |= (sums["products"][:, np.equal(*self.gaussians.upper)] > LARGEST * most).any()
        if self._asks_unlike:
            beyond |= (sums["between"] > LARGEST * most).any()
        if beyond:
            raise WireError("sums are not of intensities in robust units")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """The Gaussians, from which filters are made when a scan is scored."""
        super().absorb(phase, total)
        if not total["count"].any():
            raise WireError("sums cover nobody who has every modality that counts")
        if self.setting.private:
            if not self.parcels.known:
                return False
            total = self._by_place(total)
        self.gaussians.absorb(total)
        self._filters = {}
        return False

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Brightness and detector, of what the scan has and is like what was learnt from."""
        scan = self._with_main(visits[-1])
        index, units = np.flatnonzero(scan.mask), self.units_of(scan)
        suspicion = units[self.setting.modalities.index(self.main)].ravel()[index].astype(np.float64)
        remarks: tuple[str, ...] = ()
        if self.config.normative:
            scan, remarks = self._without_unlike(scan, units, index)
            suspicion += self.config.normative * self.detector(scan, units, index)
        anomaly = np.zeros(scan.mask.size, np.float32)
        anomaly[index] = never_negative(suspicion)
        return Score(anomaly.reshape(scan.mask.shape), remarks=remarks)

    def unlike(self, scan: Scan, units: np.ndarray, index: np.ndarray) -> dict[str, float]:
        """Of every modality that counts and is there, the share of the brain where it is unlike what was learnt from.

        Parameters
        ----------
        units
            Of the scan, (C, X, Y, Z), suspicious side up.
        index
            (n,): the brain.
        """
        if not self._asks_unlike:
            return {}
        used = units[self.used]
        sharpest = min(self.config.scales_mm) / self.setting.voxel_size_mm
        values = smoothed_inside(used, scan.mask, sharpest).reshape(len(used), -1)[:, index].T
        shares = self.gaussians.beyond(values, index, UNLIKE_BY_CHANCE * self.config.unlike)
        there = zip(self.names, shares, scan.present[self.used], strict=True)
        return {name: float(share) for name, share, present in there if present}

    def _without_unlike(self, scan: Scan, units: np.ndarray, index: np.ndarray) -> tuple[Scan, tuple[str, ...]]:
        """The scan as if what is unlike were absent, but for the main modality, and what to say of it."""
        found = {name: share for name, share in self.unlike(scan, units, index).items() if share > self.config.unlike}
        dropped = [name != self.main and name in found for name in self.setting.modalities]
        remarks = tuple(
            f"{name} is unlike what the model learnt from, in {share:.0%} of the brain: "
            + (
                "look at the scan before you trust the map (a large lesion does this, too)."
                if name == self.main
                else "it was left out of the map."
            )
            for name, share in found.items()
        )
        return replace(scan, present=scan.present & ~np.array(dropped)), remarks

    def detector(self, scan: Scan, units: np.ndarray, index: np.ndarray) -> np.ndarray:
        """m at voxels (n,), float32 (n,).

        Parameters
        ----------
        units
            Of the scan, (C, X, Y, Z), suspicious side up.
        """
        there = np.repeat(scan.present[self.used], len(self.config.scales_mm))
        features = self._features(scan, units, index)[:, there]
        if self._learnt:
            expected = self.gaussians.mean[:, None, there]
            here = self.gaussians.at(np.concatenate([self._matched(tuple(there.tolist())), expected], 1), index)
            outputs = np.einsum("nrd,nd->nr", here[:, :-1], features - here[:, -1])
        else:
            aims = self.signatures()[:, there]
            aims /= np.linalg.norm(aims, axis=1, keepdims=True)
            outputs = (features - self.gaussians.mean_at(index)[:, there]) @ aims.T.astype(np.float32)
        best: np.ndarray = outputs.max(1)
        return best

    def signatures(self) -> np.ndarray:
        """s_r, float64 (radii, d): what a ball leaves in its centre after every Gaussian, in every modality of f."""
        radii, scales = np.array(self.config.radii_mm)[:, None], np.array(self.config.scales_mm)
        a = radii / np.maximum(scales, 1e-3 * radii)  # of the voxel itself nothing is lost, as of a = 1000
        left = erf(a / np.sqrt(2)) - np.sqrt(2 / np.pi) * a * np.exp(-(a**2) / 2)
        return np.concatenate([left if name == self.main else self.config.beside * left for name in self.names], 1)

    def _matched(self, there: tuple[bool, ...]) -> np.ndarray:
        """S_v^-1 s_r / sqrt(s_r' S_v^-1 s_r) of the features that are there, float32 (rows, radii, d there)."""
        if there not in self._filters:
            spread = np.linalg.inv(self.gaussians.whitening.astype(np.float64))[:, np.array(there)]
            covariance = spread @ spread.transpose(0, 2, 1)
            aims = self.signatures()[:, np.array(there)].T
            filters = np.linalg.solve(covariance, np.broadcast_to(aims, (len(covariance), *aims.shape)))
            filters /= np.sqrt(np.einsum("vdr,dr->vr", filters, aims))[:, None]
            self._filters[there] = np.ascontiguousarray(filters.transpose(0, 2, 1), np.float32)
        return self._filters[there]

    def _normal(self, cohort: Cohort) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in range(len(cohort)):
            scan = self._with_main(cohort.scan(number))
            if scan.present[self.used].all():
                index = np.asarray(scan.normal_index)
                yield index, self._features(scan, self.units_of(scan), index)

    def _units_of_normal(self, person: Cohort, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Normal voxels of a person's scans, and the units there of the modalities that count, (n, C)."""
        for number in range(len(person)):
            scan = self._with_main(person.scan(number))
            index, units = np.asarray(scan.normal_index), self.units_of(scan)[self.used]
            yield index, units.reshape(len(units), -1)[:, index].T

    def _by_place(self, sums: Arrays) -> Arrays:
        """Sums of f at places, as if everybody looked like the mean of all parcels."""
        index, grid = self.parcels.brain, self.setting.shape
        units = np.zeros((len(self.used), int(np.prod(grid))), np.float32)
        expected = sums["sum"] / np.maximum(sums["count"], np.finfo(np.float64).tiny)[:, None]
        units[np.ix_(self.used, index)] = self.parcels.at(expected).T
        mask = np.zeros(grid, bool)
        mask.flat[index] = True
        features = self._features_of(units.reshape(-1, *grid), mask, index)
        people = sums["count"].sum() / len(index)
        return {name: people * array for name, array in self.gaussians.statistics([(index, features)]).items()}

    def _with_main(self, scan: Scan) -> Scan:
        """The scan; refused without the main modality, or one that the study says all scans have."""
        lacks_main = not scan.present[self.setting.modalities.index(self.main)]
        return self.with_every_modality(scan) if lacks_main or not self.setting.may_lack else scan

    def units_of(self, scan: Scan) -> np.ndarray:
        """Robust units of the scan, float32 (C, X, Y, Z), suspicious side up."""
        return robust_units(scan.images, scan.mask, scan.present) * self.signs[:, None, None, None]

    def _features(self, scan: Scan, units: np.ndarray, index: np.ndarray) -> np.ndarray:
        """f at voxels (n,), float32 (n, d)."""
        return self._features_of(units, scan.mask, index)

    def _features_of(self, units: np.ndarray, mask: np.ndarray, index: np.ndarray) -> np.ndarray:
        size = self.setting.voxel_size_mm
        used = units[self.used]
        found = np.empty((len(index), len(used), len(self.config.scales_mm)), np.float32)
        for number, scale in enumerate(self.config.scales_mm):
            smoothed = smoothed_inside(used, mask, scale / size)
            found[..., number] = smoothed.reshape(len(used), -1)[:, index].T
        return found.reshape(len(index), -1)
