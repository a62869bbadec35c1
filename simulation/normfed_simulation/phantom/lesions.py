"""Lesions with exact masks: white-matter hyperintensities, MS, tumour, and a subtle cortical one.

A lesion changes tissue shares or intensities before the scanner sees them, so that its contrast follows each scanner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.study.data import LesionKind
from normfed_simulation.phantom.anatomy import Tissue, cerebrum, ventricle_mask


@dataclass(frozen=True)
class Lesion:
    """What a lesion does, float32 (X, Y, Z) unless said otherwise.

    Parameters
    ----------
    mask
        bool: the ground truth.
    t1, flair
        Added to the scanner-free intensities.
    blur
        Share, in [0, 1], of a blurred image that replaces the sharp one (T1).
    """

    mask: np.ndarray
    t1: np.ndarray
    flair: np.ndarray
    blur: np.ndarray


def add_lesions(kind: LesionKind, tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Lesions of one kind in one person."""
    return _MAKERS[kind](tissue, rng)


def _wmh(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Small-vessel disease: caps and rims along the ventricles, and scattered deep spots; bright on FLAIR."""
    distance = _ventricle_distance(tissue)
    white = tissue.wm > 0.6
    texture = ndimage.gaussian_filter(rng.standard_normal(white.shape).astype(np.float32), 4.0 / tissue.voxel_size_mm)
    texture /= texture.std()
    burden = rng.uniform(0.3, 1.0)
    rim = white & (distance < 5 + 7 * burden) & (texture > 0.6 - 1.4 * burden)
    deep = _blobs(
        white & (distance > 10) & cerebrum(tissue),
        int(rng.integers(6, 8 + int(24 * burden))),
        (1.5, 4.5),
        (1.0, 1.4),
        tissue,
        rng,
    )
    return _graded(rim | (deep & white), tissue, t1=-0.10, flair=0.34, rng=rng)


def _ms(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Ovoid plaques, mostly beside the ventricles, some under the cortex; dark on T1."""
    distance = _ventricle_distance(tissue)
    white = tissue.wm > 0.5
    beside = _blobs(white & (distance < 10), int(rng.integers(4, 9)), (2.0, 4.5), (1.3, 2.2), tissue, rng)
    grey_distance = ndimage.distance_transform_edt(tissue.gm < 0.5, sampling=tissue.voxel_size_mm)
    under = _blobs(
        white & (grey_distance < 5) & (distance > 15) & cerebrum(tissue),
        int(rng.integers(1, 5)),
        (1.8, 3.5),
        (1.0, 1.6),
        tissue,
        rng,
    )
    return _graded((beside | under) & (tissue.wm > 0.3), tissue, t1=-0.20, flair=0.36, rng=rng)


def _tumour(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """One mass: dark, irregular core, bright oedema that keeps to the white matter."""
    inner = ndimage.binary_erosion(tissue.brain, iterations=max(1, round(10 / tissue.voxel_size_mm)))
    radius = rng.uniform(9, 17)
    core = _blobs(
        inner & (tissue.wm > 0.4) & cerebrum(tissue), 1, (radius, radius), (1.0, 1.3), tissue, rng, roughness=0.35
    )
    reach = ndimage.distance_transform_edt(~core, sampling=tissue.voxel_size_mm)
    oedema = (reach < rng.uniform(6, 14)) & (tissue.wm > 0.5) & ~core
    mask = (core | oedema) & tissue.brain
    soft = ndimage.gaussian_filter(core.astype(np.float32), 1.0)
    water = ndimage.gaussian_filter(oedema.astype(np.float32), 0.8)
    texture = ndimage.gaussian_filter(rng.standard_normal(mask.shape).astype(np.float32), 1.5)
    texture /= texture.std()
    t1 = -0.22 * soft - 0.14 * water + 0.05 * soft * texture
    flair = 0.22 * soft + 0.34 * water + 0.08 * soft * texture
    return Lesion(mask, t1.astype(np.float32), flair.astype(np.float32), np.zeros(mask.shape, np.float32))


def _fcd(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Focal cortical dysplasia: cortex that is too thick, and its border blurred, on T1; barely seen on FLAIR."""
    cortex = (tissue.gm > 0.5) & cerebrum(tissue) & (_ventricle_distance(tissue) > 20)
    border = cortex & ndimage.binary_dilation(tissue.wm > 0.6)
    radius = rng.uniform(9, 14)
    region = _blobs(border, 1, (radius, radius), (1.0, 1.2), tissue, rng)
    thickened = (
        region & (ndimage.distance_transform_edt(~cortex, sampling=tissue.voxel_size_mm) < 3.5) & (tissue.wm > 0.3)
    )
    mask = region & (cortex | thickened)
    share = ndimage.gaussian_filter((thickened & ~cortex).astype(np.float32), 0.6)
    white_to_grey = share * tissue.wm
    blur = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)
    return Lesion(
        mask, (-0.26 * white_to_grey).astype(np.float32), (0.12 * white_to_grey).astype(np.float32), 0.7 * blur
    )


_MAKERS: dict[LesionKind, Callable[[Tissue, np.random.Generator], Lesion]] = {
    "WMH": _wmh,
    "MS": _ms,
    "tumour": _tumour,
    "FCD": _fcd,
}


def _graded(mask: np.ndarray, tissue: Tissue, t1: float, flair: float, rng: np.random.Generator) -> Lesion:
    """The same change throughout, softer at the rim, a little different in every person."""
    mask = _without_specks(mask & tissue.brain, tissue)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.6) * rng.uniform(0.7, 1.1)
    return Lesion(mask, t1 * soft, flair * soft, np.zeros(mask.shape, np.float32))


def _without_specks(mask: np.ndarray, tissue: Tissue) -> np.ndarray:
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 0:
        return mask
    keep = np.bincount(labels.ravel()) * tissue.voxel_size_mm**3 >= 16
    keep[0] = False
    kept: np.ndarray = keep[labels]
    return kept


def _ventricle_distance(tissue: Tissue) -> np.ndarray:
    ventricles = ventricle_mask(tissue)
    distance: np.ndarray = ndimage.distance_transform_edt(~ventricles, sampling=tissue.voxel_size_mm)
    return distance


def _blobs(
    where: np.ndarray,
    count: int,
    radius_mm: tuple[float, float],
    elongation: tuple[float, float],
    tissue: Tissue,
    rng: np.random.Generator,
    roughness: float = 0.15,
) -> np.ndarray:
    """Ellipsoids of random direction with a rough surface, centred on voxels of ``where``."""
    found = np.zeros(where.shape, bool)
    centres = np.argwhere(where)
    if len(centres) == 0:
        return found
    for centre in centres[rng.choice(len(centres), count)]:
        radius = rng.uniform(*radius_mm)
        stretch = rng.uniform(*elongation)
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        reach = int(np.ceil(radius * stretch * 1.5 / tissue.voxel_size_mm)) + 1
        box = tuple(slice(max(c - reach, 0), min(c + reach + 1, n)) for c, n in zip(centre, where.shape, strict=True))
        offset = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), -1) - centre
        offset = offset * tissue.voxel_size_mm
        along = offset @ direction
        across = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0))
        rough = ndimage.gaussian_filter(rng.standard_normal(along.shape), 1.2)
        rough *= roughness / max(rough.std(), 1e-6)
        found[box] |= np.sqrt((along / (radius * stretch)) ** 2 + (across / radius) ** 2) + rough < 1
    return found
