"""Synthetic people: the template's tissue maps, smoothly deformed, with ventricles that widen with age."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from normfed_client.imaging.template import tissues, whole

DEFORMATION_MM = 2.8  # standard deviation of the displacement
SMOOTHNESS_MM = 35.0
LOWEST_MM = -72  # of the template's grid
REFERENCE_AGE, WIDENING_PER_YEAR_MM = 35.0, 0.06  # ventricles' walls move outwards with age


@dataclass(frozen=True)
class Tissue:
    """Tissue shares of one person on the grid, float32 (X, Y, Z) each, summing to the brain."""

    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    deep: np.ndarray
    voxel_size_mm: int

    @property
    def brain(self) -> np.ndarray:
        """bool: where there is brain or fluid."""
        inside: np.ndarray = (self.gm + self.wm + self.csf) > 0.5
        return inside


@lru_cache(maxsize=2)
def template(voxel_size_mm: int) -> tuple[Tissue, np.ndarray, np.ndarray]:
    """The template's tissue, displacement directions (3, X, Y, Z) away from the ventricles, and the affine."""
    t1, affine = whole("t1", voxel_size_mm)
    gm, wm, csf = tissues(voxel_size_mm)
    ventricles = ventricle_mask(Tissue(gm, wm, csf, csf, voxel_size_mm))
    distance = ndimage.distance_transform_edt(~ventricles, sampling=voxel_size_mm)
    outwards = np.stack(np.gradient(ndimage.gaussian_filter(distance, 2.0 / voxel_size_mm))).astype(np.float32)
    outwards *= np.exp(-distance / 12.0).astype(np.float32)
    # Grey matter's own contrast (putamen, thalamus, cortex) as the template shows it.
    deep = np.where(gm > 0.2, np.clip((t1 - 0.55) * 2.0, -0.3, 0.5), 0).astype(np.float32)
    return Tissue(gm, wm, csf, deep, voxel_size_mm), outwards, affine


def ventricle_mask(tissue: Tissue) -> np.ndarray:
    """The lateral ventricles: fluid deep in the brain with more white matter than grey around it, unlike cisterns."""
    inner = ndimage.binary_erosion(tissue.brain, iterations=max(1, round(20 / tissue.voxel_size_mm)))
    around = [ndimage.gaussian_filter(image, 5 / tissue.voxel_size_mm) for image in (tissue.wm, tissue.gm)]
    found: np.ndarray = (tissue.csf > 0.5) & inner & (around[0] > around[1]) & cerebrum(tissue)
    return found


def cerebrum(tissue: Tissue) -> np.ndarray:
    """bool, broadcastable to the grid: above the brain stem and most of the cerebellum (z > 0 mm in template space)."""
    height_mm = np.arange(tissue.gm.shape[2]) * tissue.voxel_size_mm + LOWEST_MM
    return (height_mm > 0)[None, None, :]


def person(age: float, voxel_size_mm: int, rng: np.random.Generator) -> Tissue:
    """One person's tissue: a smooth random deformation, and wider ventricles with age."""
    tissue, outwards, _ = template(voxel_size_mm)
    shape = tissue.gm.shape
    displacement = np.stack([smooth_noise(shape, SMOOTHNESS_MM / voxel_size_mm, rng) for _ in range(3)])
    displacement *= DEFORMATION_MM / voxel_size_mm
    widening = (age - REFERENCE_AGE) * WIDENING_PER_YEAR_MM + rng.normal(0, 0.4)
    displacement -= outwards * np.float32(np.clip(widening, -1.0, 4.0) / voxel_size_mm)
    gm, wm, csf, deep = (_warp(image, displacement) for image in (tissue.gm, tissue.wm, tissue.csf, tissue.deep))
    return Tissue(gm, wm, csf, deep, voxel_size_mm)


def smooth_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise of correlation length ``scale`` voxels: drawn on a coarse grid, interpolated by splines."""
    coarse = tuple(int(np.ceil(side / scale)) + 3 for side in shape)
    noise = ndimage.zoom(rng.standard_normal(coarse).astype(np.float32), 2, order=3)
    positions = [np.linspace(2, side * 2 - 3, n) for side, n in zip(coarse, shape, strict=True)]
    field = noise
    for axis, position in enumerate(positions):  # separable linear interpolation
        lower = np.floor(position).astype(int)
        weight = (position - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        field = (
            np.take(field, lower, axis) * (1 - weight)
            + np.take(field, np.minimum(lower + 1, field.shape[axis] - 1), axis) * weight
        )
    field = ndimage.uniform_filter(field, max(1, round(scale / 3)))
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def _warp(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Linear interpolation of ``image`` at x + displacement(x), in torch: ten times faster than splines on the CPU."""
    import torch
    from torch.nn.functional import grid_sample

    axes = [torch.arange(side, dtype=torch.float32) for side in image.shape]
    identity = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    size = torch.tensor(image.shape, dtype=torch.float32).view(3, 1, 1, 1)
    position = (identity + torch.from_numpy(displacement.astype(np.float32))) / (size - 1) * 2 - 1
    grid = position.flip(0).permute(1, 2, 3, 0)[None]
    warped = grid_sample(torch.from_numpy(np.ascontiguousarray(image))[None, None], grid, align_corners=True)
    return warped[0, 0].numpy()
