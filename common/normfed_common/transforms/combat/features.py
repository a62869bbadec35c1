"""Features of a scan at coarse places of the common grid, and what a correction of them is at every voxel.

    feature     mean of the intensities of a place, weighted by tissue and smoothed over places, of normal tissue
    correction  harmonized feature - feature; linear between the centres of places, added to every voxel: the fine
                detail of the scan is kept

Every scan has a feature at every place, whatever it has there: where it has next to no tissue its own mean of the brain
stands for it. So sums over scans are over all of them, and which places count is the template's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter

from normfed_common.learning.cohort import Scan
from normfed_common.learning.setting import Places, Setting

Kind = Literal["places", "regions"]
TISSUES: dict[Kind, int] = {"places": 1, "regions": 3}
LEAST_BRAIN = 0.05  # of a place, the share that the template's brain, or tissue, has
OWN_MEAN = 1e-3  # of a place, the share that a scan's own mean stands for


@dataclass(frozen=True)
class Grid:
    """See the module.

    Parameters
    ----------
    kind
        One feature a place, or one per tissue class of the template: grey matter, white matter, fluid.
    places_mm, smoothing_mm
        The edge of a place, and the standard deviation of the smoothing.
    beside, pairs
        Names of the sums that are not over places, and of those over pairs of them.
    """

    kind: Kind
    places_mm: float
    smoothing_mm: float
    setting: Setting
    beside: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()

    @cached_property
    def cell(self) -> int:
        """The edge of a place in voxels."""
        return max(1, round(self.places_mm / self.setting.voxel_size_mm))

    @cached_property
    def places(self) -> Places:
        """The places; whoever opens no scan has one alone."""
        x, y, z = (-(-length // self.cell) for length in self.setting.shape)
        edge_mm = self.cell * self.setting.voxel_size_mm
        return Places((x, y, z), edge_mm, self.beside, of_scans=True, pairs=self.pairs)

    @property
    def size(self) -> int:
        """How many features a modality has: tissues times places, in that order."""
        return TISSUES[self.kind] * int(np.prod(self.places.shape))

    @cached_property
    def counts(self) -> np.ndarray:
        """bool (features,): where the template has brain, or the tissue, enough."""
        shares = self._summed(self._template) / self.cell**3
        found: np.ndarray = shares.ravel() >= LEAST_BRAIN
        return found

    def of(self, scan: Scan, channel: int, normal: bool) -> np.ndarray:
        """The features of a modality that the scan has, float64 (features,).

        Parameters
        ----------
        normal
            Of tissue that counts as normal alone, for what is learnt; else of the brain.
        """
        where = np.zeros(scan.mask.size, bool)
        if normal:
            where[np.asarray(scan.normal_index)] = True
        else:
            where |= scan.mask.ravel()
        if not where.any():
            return np.zeros(self.size)
        weights = self._weights * where.reshape(scan.mask.shape)
        image = scan.images[channel].astype(np.float64)
        means = [_mean(image, weight) for weight in weights]
        total, weight = self._smooth(self._summed(weights * image)), self._smooth(self._summed(weights))
        prior = OWN_MEAN * self.cell**3
        found = (total + prior * np.array(means)[:, None, None, None]) / (weight + prior)
        return found.ravel()

    def field(self, correction: np.ndarray) -> np.ndarray:
        """What a correction (features,) of the features that count is at every voxel, float32 (X, Y, Z).

        Beside places that count it is that of those; where none of a voxel's tissues has any, that of all tissues.
        """
        parts = np.where(self.counts, correction, 0.0).reshape(-1, *self.places.shape)
        totals, found = self._at_voxels(parts), np.zeros(self.setting.shape)
        for weights, beside in self._beside:
            found = np.where(beside > 0, (weights * totals).sum(0) / np.where(beside > 0, beside, 1.0), found)
        return found.astype(np.float32)

    @cached_property
    def _beside(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights of tissues, of all alike and of those that a voxel has, and what of them counts beside it."""
        there = self._at_voxels(self.counts.astype(np.float64).reshape(-1, *self.places.shape))
        return [(weights, (weights * there).sum(0)) for weights in (np.ones_like(there), self._weights)]

    @cached_property
    def _template(self) -> np.ndarray:
        """(tissues, X, Y, Z): the template's brain, or its tissue classes."""
        tissues = self.setting.anatomy.tissues().astype(np.float64)
        return tissues.sum(0, keepdims=True) if self.kind == "places" else tissues

    @cached_property
    def _weights(self) -> np.ndarray:
        """(tissues, X, Y, Z): of which a voxel is, in shares that sum to 1."""
        if self.kind == "places":
            return np.ones((1, *self.setting.shape))
        total = self._template.sum(0)
        found: np.ndarray = np.where(total > 0, self._template / np.where(total > 0, total, 1.0), 1 / 3)
        return found

    def _summed(self, volumes: np.ndarray) -> np.ndarray:
        """Sums over places of (tissues, X, Y, Z)."""
        for axis in (1, 2, 3):
            volumes = np.add.reduceat(volumes, np.arange(0, volumes.shape[axis], self.cell), axis)
        return volumes

    def _smooth(self, places: np.ndarray) -> np.ndarray:
        sigma = self.smoothing_mm / self.places.edge_mm
        found: np.ndarray = gaussian_filter(places, sigma, mode="constant", axes=(1, 2, 3)) if sigma else places
        return found

    @cached_property
    def _between(self) -> tuple[np.ndarray, ...]:
        """Along each axis (voxels, places): how near a voxel is to the centres of the two places that it is between."""
        found = []
        for voxels, places in zip(self.setting.shape, self.places.shape, strict=True):
            at = np.clip((np.arange(voxels) + 0.5) / self.cell - 0.5, 0, places - 1)
            found.append(np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(places))))
        return tuple(found)

    def _at_voxels(self, places: np.ndarray) -> np.ndarray:
        """Values at places (tissues, ...) between their centres, (tissues, X, Y, Z)."""
        found: np.ndarray = np.einsum("tijk,xi,yj,zk->txyz", places, *self._between, optimize=True)
        return found


def _mean(image: np.ndarray, weight: np.ndarray) -> float:
    total = weight.sum()
    return float((image * weight).sum() / total) if total > 0 else 0.0
