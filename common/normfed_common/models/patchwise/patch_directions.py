"""Directions in which patches vary over the brain, but agree between people at one place: a siamese encoder by sums.

Of x, axial patches p x p of all modalities, and d = x1 - x2, of two of a site's own people at one place:

    C = cov(x),  S = sum d d' / (2 m) + 1e-3 tr(.)/D I,  C w = lambda S w,  z = W' (x - mean x)

W are the leading generalised eigenvectors, w' S w = 1: the noise between people is white in z, with unit variance.
These are linear discriminants of place; what a linear siamese auto-encoder looks for by descent is found in one step.
Without pairs, where every site has one person, S is a multiple of I and W are the principal components.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from pydantic import Field, field_validator
from scipy.linalg import eigh
from torch.nn import functional

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.scatter import check_semidefinite, symmetric, triangle
from normfed_common.learning.setting import SUMS_ROUNDING, Setting
from normfed_common.models.patchwise.patch_spectrum import Moments, PatchSpectrum
from normfed_common.models.patchwise.patches import siamese_batches
from normfed_common.study.base import Frozen

RIDGE = 1e-3  # of S, relative to its mean eigenvalue
SLICES_AT_ONCE = 4  # stay in the processor's cache
Scans = Callable[[Scan], Scan]


class DirectionsConfig(Frozen):
    """Parameters of the directions."""

    patch_size: int = Field(9, ge=3, le=21, description="voxels, axial, odd; larger ones at 2 mm are worse")
    latents: int = Field(16, ge=1, le=64, description="directions; 32 are no better")
    pairs_per_subject: int = Field(4000, ge=1, le=1_000_000, description="pairs of which each visit is the first")

    @field_validator("patch_size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("a patch has a voxel in its middle: its size is odd")
        return size


class PatchDirections:
    """See the module.

    Parameters
    ----------
    patch_size
        p, odd.
    latents
        How many directions.
    pairs_per_subject
        Pairs of which each scan is the first.

    Attributes
    ----------
    mean
        float64 (D,), D = C p p.
    directions
        float64 (D, latents): W. The entry of each that is largest by magnitude is positive.
    eigenvalues
        float64 (latents,), descending: variance of z over the brain, where that between people is 1.

    Raises
    ------
    StudyError
        If a patch has fewer numbers than there are latents.
    """

    def __init__(self, patch_size: int, latents: int, pairs_per_subject: int, setting: Setting) -> None:
        self.patch_size, self.latents, self.pairs_per_subject = patch_size, latents, pairs_per_subject
        self.setting = setting
        self.size = len(setting.modalities) * patch_size**2
        if latents > self.size:
            raise StudyError(
                f"latents: {latents} are more than the {self.size} values of a patch. Ask for fewer, or for larger "
                "patches."
            )
        self.upper = triangle(self.size)

    @property
    def counted(self) -> dict[str, float]:
        """As `Learner.counted` says it."""
        return {"patches": 2 * self.pairs_per_subject, "pairs": self.pairs_per_subject}

    @property
    def bounds(self) -> np.ndarray:
        """(latents,): no latent is larger by magnitude, as values are in the study's range."""
        largest = max(map(abs, self.setting.value_range))
        bounds: np.ndarray = np.abs(self.directions).sum(0) * largest + np.abs(self.mean @ self.directions)
        return bounds

    def statistics(self, cohort: Cohort, with_modalities: Scans, rng: np.random.Generator) -> Arrays:
        """Sums over pairs drawn at a site, float64.

        Parameters
        ----------
        with_modalities
            Is called on every scan; may raise.

        Returns
        -------
        ``patches`` n (1,), ``sum`` of x (D,), ``products`` x x' (D(D+1)/2,), ``pairs`` m (1,), ``differences`` d d'
        (D(D+1)/2,), both upper triangles row by row. A lone person has patches, but no pairs.
        """
        total = {name: np.zeros(shape) for name, shape in self._shapes().items()}
        drawn = siamese_batches(
            cohort, self.pairs_per_subject, self.pairs_per_subject, self.patch_size, rng, with_modalities
        )
        for patches, people in drawn:
            first, second = np.moveaxis(patches.reshape(len(patches), 2, self.size).astype(np.float64), 1, 0)
            paired = people[:, 0] != people[:, 1]
            both = np.concatenate([first, second[paired]])
            difference = (first - second)[paired]
            total["patches"] += len(both)
            total["sum"] += both.sum(0)
            total["products"] += (both.T @ both)[self.upper]
            total["pairs"] += len(difference)
            total["differences"] += (difference.T @ difference)[self.upper]
        return total

    def bounded(self, with_modalities: Scans) -> PatchSpectrum:
        """Of one person nobody makes a pair: directions are the principal components of what a spectrum says."""

        def moments(person: Cohort, rng: np.random.Generator) -> Moments:
            found = self.statistics(person, with_modalities, rng)
            return float(found["patches"][0]), found["sum"], symmetric(found["products"], self.size)

        channels, values = len(self.setting.modalities), self.setting.value_range
        return PatchSpectrum(channels, self.patch_size, values, moments, self.pairs_per_subject, self._named)

    def _named(self, moments: Moments) -> Arrays:
        none = np.zeros(len(self.upper[0]))
        count, first, second = moments
        named = {"patches": np.array([count]), "sum": first, "products": second[self.upper]}
        return {**named, "pairs": np.zeros(1), "differences": none}

    def check(self, sums: Arrays) -> None:
        """Patches in the study's range have such sums: both scatters are positive semidefinite, and because of
        d d' <= 2 (x1 x1' + x2 x2') so is 2 sum x x' - sum d d'.

        Raises
        ------
        WireError
            If not, or if there are no patches.
        """
        check_shapes(sums, self._shapes())
        patches, pairs = float(sums["patches"][0]), float(sums["pairs"][0])
        if patches <= 0 or pairs < 0 or 2 * pairs > patches * (1 + SUMS_ROUNDING):
            raise WireError("there are no patches, or more pairs than there are patches for")
        largest = max(map(abs, self.setting.value_range)) * (1 + SUMS_ROUNDING)
        products, differences = symmetric(sums["products"], self.size), symmetric(sums["differences"], self.size)
        if (np.abs(sums["sum"]) > largest * patches).any() or (np.diagonal(products) > largest**2 * patches).any():
            raise WireError("patches have values beyond the study's range")
        if pairs == 0 and differences.any():
            raise WireError("there are differences without pairs")
        scatter = products - np.outer(sums["sum"], sums["sum"]) / patches
        check_semidefinite(np.stack([scatter, differences, 2 * products - differences]), 2 * np.trace(products))

    def absorb(self, total: Arrays) -> None:
        """Mean and directions from the sums over all sites, which `check` let pass.

        Raises
        ------
        WireError
            If none can be made of them.
        """
        count, pairs = float(total["patches"][0]), float(total["pairs"][0])
        self.mean = total["sum"] / count
        covariance = symmetric(total["products"], self.size) / count - np.outer(self.mean, self.mean)
        eye = np.eye(self.size)
        differences = symmetric(total["differences"], self.size)
        within = differences / (2 * pairs) if pairs else eye * np.trace(covariance) / self.size
        within = within + eye * (RIDGE * np.trace(within) / self.size + np.finfo(np.float32).tiny)
        try:
            values, vectors = eigh(covariance, within, subset_by_index=(self.size - self.latents, self.size - 1))
        except (np.linalg.LinAlgError, ValueError) as error:
            raise WireError("differences make no covariance") from error
        directions = vectors[:, ::-1]
        largest = np.abs(directions).argmax(0)
        self.directions = directions * np.where(directions[largest, np.arange(self.latents)] < 0, -1, 1)
        self.eigenvalues = np.maximum(values[::-1], 0)
        if not np.isfinite(self.directions).all() or not np.isfinite(self.directions.astype(np.float32)).all():
            raise WireError("sums make directions that are not finite")

    def encode_patches(self, patches: np.ndarray) -> np.ndarray:
        """z of patches (n, C, p, p), float32 (n, latents)."""
        centred = patches.reshape(len(patches), self.size) - self.mean.astype(np.float32)
        latents: np.ndarray = centred @ self.directions.astype(np.float32)
        return latents

    def encode(self, scan: Scan, index: np.ndarray) -> np.ndarray:
        """z at voxels of the brain (n,), float32 (n, latents): one convolution, of which the kernels are W."""
        device = self.setting.device
        channels, size = len(self.setting.modalities), self.patch_size
        kernels = torch.from_numpy(self.directions.T.reshape(self.latents, channels, size, size)).float().to(device)
        bias = torch.from_numpy(-self.mean @ self.directions).float().to(device)
        latents = np.empty((len(index), self.latents), np.float32)
        if not len(index):
            return latents
        x, y, z = np.unravel_index(index, scan.mask.shape)
        # Only what patches at these voxels hold; off the grid, as outside the brain, images are 0.
        radius = size // 2
        left, front = max(x.min() - radius, 0), max(y.min() - radius, 0)
        images = scan.images[:, left : x.max() + radius + 1, front : y.max() + radius + 1]
        x, y = x - left, y - front
        slabs = z // SLICES_AT_ONCE
        order = np.argsort(slabs, kind="stable")
        numbers, starts = np.unique(slabs[order], return_index=True)
        with torch.inference_mode():
            for slab, rows in zip(numbers, np.split(order, starts[1:]), strict=True):
                start = slab * SLICES_AT_ONCE
                slices = np.ascontiguousarray(np.moveaxis(images[..., start : start + SLICES_AT_ONCE], 3, 0))
                found = functional.conv2d(torch.from_numpy(slices).to(device), kernels, bias, padding=radius)
                latents[rows] = found.permute(0, 2, 3, 1).cpu().numpy()[z[rows] - start, x[rows], y[rows]]
        return latents

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        upper = (len(self.upper[0]),)
        return {
            "patches": (1,),
            "sum": (self.size,),
            "products": upper,
            "pairs": (1,),
            "differences": upper,
        }
