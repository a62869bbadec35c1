"""A one-class model at every location of the common grid (Alaverdyan 2020).

A location is a cube of ``spacing_mm`` (the voxel size gives the published one model a voxel). A site with enough
normal people of its own fits a one-class SVM per location on their latents; its support vectors are latents of
identifiable people, so they stay. Elsewhere the score is the Mahalanobis distance to the Gaussian of the location,
from sums over all sites, drawn to the pooled covariance:  S_v = (n_v C_v + k C) / (n_v + k).

A site with machines has none at the few locations where too few of its people have tissue, on the brain's rim. There
the distance is put on the machines' scale: the distance that a share q of the site's normal voxels stay below becomes
the machines' score that the same share stays below. A distance beyond all of theirs becomes their highest score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Places, Setting
from normfed_common.scoring import kernel
from normfed_common.scoring.base import LatentField, OneClassConfig, OneClassScore
from normfed_common.scoring.reservoir import Reservoir
from normfed_common.study.base import Frozen

MAXIMUM_SAMPLES = 200  # per location's machine
SHRINKAGE = 20.0  # k, voxels' worth of the pooled covariance
CALIBRATION_VOXELS = 50_000  # of the site's normal people, which put distances on the machines' scale
QUANTILES = np.linspace(0, 1, 1001)
SCATTER_ROUNDING = 1e-9  # of a scatter, relative to its products: float64 sums of 10^7 terms
LOCATIONS_AT_ONCE = 16_384
LARGEST_DISTANCE = 1e18  # its square is within float32: what overflows is as far, never infinite


class LocationConfig(OneClassConfig):
    """Parameters of the models per location."""

    spacing_mm: float = Field(6.0, gt=0, description="edge of a location")
    minimum_subjects: int = Field(
        20, ge=2, description="where fewer of a site's people have tissue, it uses the federated Gaussian"
    )


class LocationHead(OneClassScore):
    """See the module."""

    Config: ClassVar[type[Frozen]] = LocationConfig
    keeps_to_site: bool = True

    def __init__(self, config: LocationConfig, dimension: int, setting: Setting) -> None:
        self.dimension, self.nu, self.minimum_subjects = dimension, config.nu, config.minimum_subjects
        self.cell = cell = max(1, round(config.spacing_mm / setting.voxel_size_mm))
        self.shape = shape = setting.shape
        self.edge_mm = cell * setting.voxel_size_mm
        self.cells = (-(-shape[0] // cell), -(-shape[1] // cell), -(-shape[2] // cell))
        self.upper = np.triu_indices(dimension)
        self.machines: dict[int, kernel.OneClassMachine] = {}
        self.distances = self.scores = np.zeros(len(QUANTILES))

    def phases(self) -> tuple[Phase, ...]:
        """Moments of every location."""
        return (Phase("moments", "summed"),)

    def places(self, phase: str) -> Places | None:
        """The locations."""
        return Places(self.cells, self.edge_mm)

    def statistics(self, phase: str, fields: Iterator[LatentField], rng: np.random.Generator) -> Arrays:
        """Per location: n, sum z of shape (L, d), sum z z' as the upper triangle (L, d(d+1)/2)."""
        dimension, size = self.dimension, int(np.prod(self.cells))
        count, first = np.zeros(size), np.zeros((size, dimension))
        second = np.zeros((size, len(self.upper[0])))
        for field in fields:
            where = self._cell_of(field.index)
            latents = field.latents.numpy().astype(np.float64)
            count += np.bincount(where, minlength=size)
            for axis in range(dimension):
                first[:, axis] += np.bincount(where, latents[:, axis], size)
            for k, (i, j) in enumerate(zip(*self.upper, strict=True)):
                second[:, k] += np.bincount(where, latents[:, i] * latents[:, j], size)
        return {"count": count, "sum": first, "products": second}

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once at each voxel of a location."""
        return {"count": self.cell**3}

    def check(self, phase: str, sums: Arrays) -> None:
        """The scatter of every location, sum z z' - sum z sum z' / n, is positive semidefinite.

        So it is for means over cubes of locations. Locations without people have no sums.
        """
        size = sums["count"].shape[:1] if "count" in sums else ()
        sizes = {"count": size, "sum": (*size, self.dimension), "products": (*size, len(self.upper[0]))}
        check_shapes(sums, sizes)
        count, first = sums["count"], sums["sum"]
        if (count < 0).any():
            raise WireError("counts are below 0")
        nobody = count == 0
        if first[nobody].any() or sums["products"][nobody].any():
            raise WireError("there are sums at locations where nobody is")
        somebody = np.flatnonzero(~nobody)
        for start in range(0, len(somebody), LOCATIONS_AT_ONCE):
            rows = somebody[start : start + LOCATIONS_AT_ONCE]
            products = self._square(sums["products"][rows])
            scatter = products - first[rows, :, None] * first[rows, None, :] / count[rows, None, None]
            slack = SCATTER_ROUNDING * np.trace(products, axis1=1, axis2=2) + np.finfo(np.float64).tiny
            try:
                roots = np.linalg.cholesky(scatter + slack[:, None, None] * np.eye(self.dimension))
            except np.linalg.LinAlgError as error:
                raise WireError("products make no covariance") from error
            if not np.isfinite(roots).all():
                raise WireError("products make no covariance")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Means and whitening matrices of all locations."""
        count = total["count"]
        seen = np.maximum(count, 1)
        products = self._square(total["products"])
        self.mean = total["sum"] / seen[:, None]
        scatter = products - seen[:, None, None] * self.mean[:, :, None] * self.mean[:, None, :]
        pooled = scatter[count > 0].sum(0) / max(count.sum(), 1)
        pooled += np.eye(self.dimension) * (1e-6 * np.trace(pooled) / self.dimension + 1e-12)
        covariance = (scatter + SHRINKAGE * pooled) / (count + SHRINKAGE)[:, None, None]
        self.mean[count == 0] = total["sum"].sum(0) / max(count.sum(), 1)
        try:
            self.whitening = np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float32)
        except np.linalg.LinAlgError as error:
            raise WireError("products make no covariance") from error
        self.mean = self.mean.astype(np.float32)
        if not np.isfinite(self.mean).all() or not np.isfinite(self.whitening).all():
            raise WireError("sums make a mean or a covariance that is not finite")
        return False

    def personalise(self, fields: Iterator[LatentField], subjects: int, rng: np.random.Generator) -> None:
        """Fit one machine per location, where the site has enough people, and match the two scales by quantiles."""
        self.machines = {}
        if subjects < self.minimum_subjects:
            return
        samples = Reservoir(MAXIMUM_SAMPLES, self.dimension, rng)
        has_tissue: dict[int, np.ndarray] = {}
        normal, normal_cells = [], []
        each = -(-CALIBRATION_VOXELS // subjects)
        for field in fields:
            where, latents = self._cell_of(field.index), field.latents.numpy()
            has_tissue.setdefault(field.person, np.zeros(int(np.prod(self.cells)), bool))[where] = True
            samples.add(latents, where)
            some = rng.choice(len(where), min(len(where), each), replace=False)
            normal.append(latents[some])
            normal_cells.append(where[some])
        people = np.sum(list(has_tissue.values()), axis=0)
        cells, starts = np.unique(samples.cells, return_index=True)
        for cell, rows in zip(cells, np.split(samples.latents, starts[1:]), strict=True):
            if people[cell] >= self.minimum_subjects:
                self.machines[int(cell)] = kernel.fit(rows, self.nu)
        self._calibrate(np.concatenate(normal), np.concatenate(normal_cells))

    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """nu MAXIMUM_SAMPLES / 4 minus the machines' decision value (see `kernel`), or the Mahalanobis distance.

        The distance is plain at a site without machines, and on the machines' scale at one with them (see the module).
        """
        where, latents = self._cell_of(field.index), field.latents.numpy()
        if not self.machines:
            return self._mahalanobis(latents, where)
        values = self._machine_scores(latents, where)
        alone = np.isnan(values)
        values[alone] = np.interp(self._mahalanobis(latents[alone], where[alone]), self.distances, self.scores)
        return values

    def _square(self, products: np.ndarray) -> np.ndarray:
        """Symmetric matrices (n, d, d) of upper triangles (n, d(d+1)/2)."""
        matrices = np.zeros((len(products), self.dimension, self.dimension))
        matrices[:, self.upper[0], self.upper[1]] = products
        matrices[:, self.upper[1], self.upper[0]] = products
        return matrices

    def _calibrate(self, latents: np.ndarray, where: np.ndarray) -> None:
        known = np.isin(where, list(self.machines))
        if not known.any():
            return
        self.distances = np.quantile(self._mahalanobis(latents[known], where[known]), QUANTILES)
        self.scores = np.quantile(self._machine_scores(latents[known], where[known]), QUANTILES)

    def _machine_scores(self, latents: np.ndarray, where: np.ndarray) -> np.ndarray:
        """(n,) float32; NaN at locations without a machine."""
        values = np.full(len(where), np.nan, np.float32)
        order = np.argsort(where, kind="stable")
        cells, starts = np.unique(where[order], return_index=True)
        for cell, rows in zip(cells, np.split(order, starts[1:]), strict=True):
            machine = self.machines.get(int(cell))
            if machine is not None:
                here = torch.from_numpy(latents[rows])
                values[rows] = kernel.anomaly([machine], here, self.nu, MAXIMUM_SAMPLES).numpy()
        return values

    def _mahalanobis(self, latents: np.ndarray, where: np.ndarray) -> np.ndarray:
        centred = latents - self.mean[where]
        distances = np.empty(len(centred), np.float32)
        for start in range(0, len(centred), 16_384):
            rows = slice(start, start + 16_384)
            white = np.einsum("nij,nj->ni", self.whitening[where[rows]], centred[rows])
            distances[rows] = np.fmin(np.sqrt((white**2).sum(1)), LARGEST_DISTANCE)
        return distances

    def _cell_of(self, index: np.ndarray) -> np.ndarray:
        place = np.unravel_index(index, self.shape)
        flat: np.ndarray = np.ravel_multi_index([axis // self.cell for axis in place], self.cells)
        return flat
