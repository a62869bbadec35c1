"""A one-class model at every location of the common grid (Alaverdyan 2020).

A location is a cube of ``spacing_mm`` (the voxel size gives the published one model a voxel). A site with enough
normal people of its own fits a one-class SVM per location on their latents; its support vectors are latents of
identifiable people, so they stay. Elsewhere the score is the Mahalanobis distance to the Gaussian of the location,
from sums over all sites, drawn to the pooled covariance:  S_v = (n_v C_v + k C) / (n_v + k).

A site with machines has none at the few locations where too few of its people have tissue, on the brain's rim. There
the distance is put on the machines' scale: the distance that a share q of the site's normal voxels stay below becomes
the machines' score that the same share stays below. A distance beyond all of theirs becomes their highest score.

Memory of the fit does not grow with the people: at most 200 latents of each location are kept, and thrice as much is
used while more come in. 20 people at 2 mm with 10,700 locations of 6 mm and 16 latents take 21 CPU seconds to fit and
one to score (`benchmarks/bench_scoring.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.phase import Phase
from normfed_common.learning.place_gaussians import PlaceGaussians
from normfed_common.learning.setting import Places, Setting
from normfed_common.scoring import kernel
from normfed_common.scoring.base import LatentField, OneClassConfig, OneClassScore
from normfed_common.scoring.reservoir import Reservoir
from normfed_common.study.base import Frozen

MAXIMUM_SAMPLES = 200  # per location's machine
SHRINKAGE = 20.0  # k, voxels' worth of the pooled covariance
CALIBRATION_VOXELS = 50_000  # of the site's normal people, which put distances on the machines' scale
TOLERANCE = 1e-8  # of libsvm; as fast as its own 1e-3 at so few samples, and their random order changes nothing
QUANTILES = np.linspace(0, 1, 1001)


class LocationConfig(OneClassConfig):
    """Parameters of the models per location."""

    spacing_mm: float = Field(6.0, gt=0, le=1000, description="edge of a location")
    minimum_subjects: int = Field(
        20, ge=2, description="where fewer of a site's people have tissue, it uses the federated Gaussian"
    )


class LocationHead(OneClassScore):
    """See the module."""

    Config: ClassVar[type[Frozen]] = LocationConfig
    cited: ClassVar[tuple[str, ...]] = ("alaverdyan2020", "scholkopf2001")
    keeps_to_site: bool = True

    def __init__(self, config: LocationConfig, dimension: int, setting: Setting) -> None:
        self.dimension, self.nu, self.minimum_subjects = dimension, config.nu, config.minimum_subjects
        self.gaussians = PlaceGaussians(dimension, setting, config.spacing_mm, SHRINKAGE)
        self.machines: dict[int, kernel.OneClassMachine] = {}
        self.distances = self.scores = np.zeros(len(QUANTILES))

    def phases(self) -> tuple[Phase, ...]:
        """Moments of every location."""
        return (Phase("moments", "summed"),)

    def places(self, phase: str) -> Places | None:
        """The locations."""
        return self.gaussians.places

    def statistics(self, phase: str, fields: Iterable[LatentField], rng: np.random.Generator) -> Arrays:
        """Per location: n, sum z of shape (L, d), sum z z' as the upper triangle (L, d(d+1)/2)."""
        return self.gaussians.statistics((field.index, field.latents.numpy()) for field in fields)

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once at each voxel of a location."""
        return self.gaussians.counted

    def check(self, phase: str, sums: Arrays) -> None:
        """Every location's sums are those of a covariance."""
        self.gaussians.check(sums)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Means and whitening matrices of all locations."""
        self.gaussians.absorb(total)
        return False

    def personalise(self, fields: Iterable[LatentField], subjects: int, rng: np.random.Generator) -> None:
        """Fit one machine per location, where the site has enough people, and match the two scales by quantiles."""
        self.machines = {}
        if subjects < self.minimum_subjects:
            return
        samples = Reservoir(MAXIMUM_SAMPLES, self.dimension, rng)
        has_tissue: dict[int, np.ndarray] = {}
        normal, normal_index = [], []
        each = -(-CALIBRATION_VOXELS // subjects)
        for field in fields:
            where, latents = self._cell_of(field.index), field.latents.numpy()
            has_tissue.setdefault(field.person, np.zeros(int(np.prod(self.gaussians.cells)), bool))[where] = True
            samples.add(latents, where)
            some = rng.choice(len(where), min(len(where), each), replace=False)
            normal.append(latents[some])
            normal_index.append(field.index[some])
        people = np.sum(list(has_tissue.values()), axis=0)
        cells, starts = np.unique(samples.cells, return_index=True)
        for cell, rows in zip(cells, np.split(samples.latents, starts[1:]), strict=True):
            if people[cell] >= self.minimum_subjects:
                self.machines[int(cell)] = kernel.fit(rows.astype(np.float64), self.nu, tolerance=TOLERANCE)
        self._calibrate(np.concatenate(normal), np.concatenate(normal_index))

    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """nu MAXIMUM_SAMPLES / 4 minus the machines' decision value (see `kernel`), or the Mahalanobis distance.

        The distance is plain at a site without machines, and on the machines' scale at one with them (see the module).
        """
        latents, index = field.latents.numpy(), field.index
        if not self.machines:
            return self.gaussians.mahalanobis(latents, index)
        values = self._machine_scores(latents, index)
        alone = np.isnan(values)
        values[alone] = np.interp(self.gaussians.mahalanobis(latents[alone], index[alone]), self.distances, self.scores)
        return values

    def _calibrate(self, latents: np.ndarray, index: np.ndarray) -> None:
        known = np.isin(self._cell_of(index), list(self.machines))
        if not known.any():
            return
        self.distances = np.quantile(self.gaussians.mahalanobis(latents[known], index[known]), QUANTILES)
        self.scores = np.quantile(self._machine_scores(latents[known], index[known]), QUANTILES)

    def _machine_scores(self, latents: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(n,) float32; NaN at locations without a machine."""
        where = self._cell_of(index)
        values = np.full(len(where), np.nan, np.float32)
        order = np.argsort(where, kind="stable")
        cells, starts = np.unique(where[order], return_index=True)
        for cell, rows in zip(cells, np.split(order, starts[1:]), strict=True):
            machine = self.machines.get(int(cell))
            if machine is not None:
                here = torch.from_numpy(latents[rows]).double()  # few, and as exact as libsvm
                values[rows] = kernel.anomaly([machine], here, self.nu, MAXIMUM_SAMPLES).numpy()
        return values

    def _cell_of(self, index: np.ndarray) -> np.ndarray:
        return self.gaussians.cell_of(index)
