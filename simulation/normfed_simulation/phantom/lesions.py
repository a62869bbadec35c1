"""Lesions with exact masks: white-matter hyperintensities, MS, tumour, and a subtle cortical one.

A lesion changes the tissue before the scanner sees it, so that its contrast follows each scanner. Volumes are drawn
first, log-normal; a field of propensity then says where: the voxels in which it is highest, as many as the volume has.
Volumes and contrasts are those of real patients (`benchmarks/bench_phantom.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.study.data import LesionKind
from normfed_simulation.phantom.anatomy import Tissue, cerebrum, positions_mm, smooth_noise

# Median ml, standard deviation of the logarithm, least and most ml.
VOLUMES_ML: dict[LesionKind, tuple[float, float, float, float]] = {
    "WMH": (14.0, 0.8, 2.0, 50.0),
    "MS": (7.0, 0.6, 2.0, 20.0),
    "tumour": (60.0, 0.5, 20.0, 120.0),
}
SMALLEST_MM3 = 16.0


@dataclass(frozen=True)
class Lesion:
    """What a lesion does, float32 (X, Y, Z) unless said otherwise.

    Parameters
    ----------
    mask
        bool: the ground truth.
    t1, flair
        Added to the images, relative to white matter.
    blur
        Share, in [0, 1], of a blurred image that replaces the sharp one (T1).
    fill
        Share, in [0, 1], of white matter's level that first replaces what was there.
    """

    mask: np.ndarray
    t1: np.ndarray
    flair: np.ndarray
    blur: np.ndarray
    fill: np.ndarray


def add_lesions(kind: LesionKind, tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Lesions of one kind in one person."""
    return _MAKERS[kind](tissue, rng)


def _wmh(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Small-vessel disease: caps and rims along the ventricles that flow together, and deep spots of many sizes."""
    size, distance = tissue.voxel_size_mm, _ventricle_distance(tissue)
    patchy, spotty = (smooth_noise(tissue.wm.shape, mm / size, rng) for mm in (14.0, 6.0))
    depth = ndimage.gaussian_filter(tissue.wm, 3.0 / size)  # spares the fibres right under the cortex
    middle = np.exp(-((positions_mm(size)[0] / 12) ** 2))  # and the corpus callosum
    around = 1.0 - distance / 12 + 0.35 * patchy
    scattered = rng.uniform(0.2, 0.5) + 0.22 * spotty + 0.2 * patchy - 0.01 * distance
    propensity = np.maximum(around, scattered) + 0.7 * depth - 0.8 * middle
    where = (tissue.wm > 0.6) & cerebrum(tissue)
    mask = _highest(propensity, where, _volume_ml("WMH", rng), tissue)
    return _graded(mask, tissue, t1=-0.16, flair=0.72, rng=rng)


def _ms(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Ovoid plaques, mostly beside the ventricles, some under the cortex; dark on T1."""
    distance = _ventricle_distance(tissue)
    white = (tissue.wm > 0.5) & cerebrum(tissue)
    under = white & (distance > 15) & (ndimage.gaussian_filter(tissue.gm, 3.0 / tissue.voxel_size_mm) > 0.25)
    places = [np.argwhere(part) for part in (white & (distance < 8), white & (distance < 20), under)]
    wanted = _volume_ml("MS", rng)
    mask = np.zeros(white.shape, bool)
    for number in range(80):
        radius = float(np.clip(2.7 * np.exp(rng.normal(0, 0.4)), 1.5, 7.0)) * (wanted / 7) ** 0.2
        centres = places[0 if number % 2 == 0 else int(rng.integers(1, 3))]
        mask |= _blob(centres, radius, (1.0, 2.2), tissue, rng) & (tissue.wm > 0.3)
        if _ml(mask, tissue) > wanted:
            break
    return _graded(mask, tissue, t1=-0.26, flair=0.64, rng=rng)


def _tumour(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """One mass, dark inside and bright in its wall, that takes the place of what was there; oedema in white matter."""
    size = tissue.voxel_size_mm
    inner = ndimage.binary_erosion(tissue.brain, iterations=max(1, round(12 / size)))
    wanted = _volume_ml("tumour", rng)
    radius = float((wanted * rng.uniform(0.25, 0.6) * 1e3 * 0.75 / np.pi) ** (1 / 3))
    centres = np.argwhere(inner & (tissue.wm > 0.4) & cerebrum(tissue))
    core = _blob(centres, radius, (1.0, 1.3), tissue, rng, roughness=0.3) & tissue.brain
    rough, fine = (smooth_noise(core.shape, mm / size, rng) for mm in (12.0, 5.0))
    reach = ndimage.distance_transform_edt(~core, sampling=size) - 2.5 * rough
    around = (tissue.wm > 0.4) & (tissue.csf < 0.3) & ~core
    oedema = _highest(-reach, around, max(wanted - _ml(core, tissue), 1.0), tissue)
    mask = _largest(core | oedema)
    oedema &= mask
    soft, water = (ndimage.gaussian_filter(part.astype(np.float32), 1.4 / size) for part in (core, oedema))
    dead = soft * np.clip(ndimage.gaussian_filter(core.astype(np.float32), radius / 2.5 / size) * 1.6 - 0.7, 0, 1)
    t1 = soft * (-0.18 + 0.06 * fine) - 0.30 * dead - 0.22 * water
    flair = soft * (0.75 + 0.12 * fine + 0.08 * rough) - 0.45 * dead + water * (0.80 + 0.10 * rough)
    nothing = np.zeros(mask.shape, np.float32)
    return Lesion(mask, t1.astype(np.float32), flair.astype(np.float32), nothing, np.clip(soft + 0.5 * water, 0, 1))


def _fcd(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Focal cortical dysplasia: cortex that is too thick, and its border blurred, on T1; barely seen on FLAIR."""
    cortex = (tissue.gm > 0.5) & cerebrum(tissue) & (_ventricle_distance(tissue) > 20)
    border = cortex & ndimage.binary_dilation(tissue.wm > 0.6)
    region = _blob(np.argwhere(border), rng.uniform(9, 14), (1.0, 1.2), tissue, rng)
    thickened = (
        region & (ndimage.distance_transform_edt(~cortex, sampling=tissue.voxel_size_mm) < 3.5) & (tissue.wm > 0.3)
    )
    mask = region & (cortex | thickened)
    share = ndimage.gaussian_filter((thickened & ~cortex).astype(np.float32), 0.6)
    changed = (share * tissue.wm).astype(np.float32)
    blur = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)
    return Lesion(mask, -0.28 * changed, 0.22 * changed, 0.7 * blur, np.zeros(mask.shape, np.float32))


_MAKERS: dict[LesionKind, Callable[[Tissue, np.random.Generator], Lesion]] = {
    "WMH": _wmh,
    "MS": _ms,
    "tumour": _tumour,
    "FCD": _fcd,
}


def _volume_ml(kind: LesionKind, rng: np.random.Generator) -> float:
    median, spread, least, most = VOLUMES_ML[kind]
    return float(np.clip(median * np.exp(rng.normal(0, spread)), least, most))


def _ml(mask: np.ndarray, tissue: Tissue) -> float:
    return float(mask.sum()) * tissue.voxel_size_mm**3 / 1e3


def _highest(propensity: np.ndarray, where: np.ndarray, ml: float, tissue: Tissue) -> np.ndarray:
    """bool: the voxels of ``where`` with the highest propensity, ``ml`` of them."""
    values = propensity[where]
    count = min(round(ml * 1e3 / tissue.voxel_size_mm**3), len(values))
    if count == 0:
        return np.zeros(where.shape, bool)
    chosen: np.ndarray = where & (propensity >= np.partition(values, -count)[-count])
    return chosen


def _largest(mask: np.ndarray) -> np.ndarray:
    """bool: the largest piece."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    found: np.ndarray = mask & (labels == sizes.argmax())
    return found


def _graded(mask: np.ndarray, tissue: Tissue, t1: float, flair: float, rng: np.random.Generator) -> Lesion:
    """Softer at the rim, uneven within, a little different in every person."""
    size = tissue.voxel_size_mm
    mask = _without_specks(mask & tissue.brain, tissue)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 1.3 / size)
    strength = rng.uniform(0.75, 1.1) + 0.15 * smooth_noise(mask.shape, 8.0 / size, rng)
    change = soft * np.clip(strength, 0.3, 1.5)
    nothing = np.zeros(mask.shape, np.float32)
    return Lesion(mask, (t1 * change).astype(np.float32), (flair * change).astype(np.float32), nothing, nothing)


def _without_specks(mask: np.ndarray, tissue: Tissue) -> np.ndarray:
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 0:
        return mask
    keep = np.bincount(labels.ravel()) * tissue.voxel_size_mm**3 >= SMALLEST_MM3
    keep[0] = False
    kept: np.ndarray = keep[labels]
    return kept


def _ventricle_distance(tissue: Tissue) -> np.ndarray:
    distance: np.ndarray = ndimage.distance_transform_edt(tissue.ventricles < 0.5, sampling=tissue.voxel_size_mm)
    return distance


def _blob(
    centres: np.ndarray,
    radius: float,
    elongation: tuple[float, float],
    tissue: Tissue,
    rng: np.random.Generator,
    roughness: float = 0.15,
) -> np.ndarray:
    """bool (X, Y, Z): a rough ellipsoid of random direction, centred on one of ``centres`` (n, 3); radius in mm."""
    shape = tissue.wm.shape
    found = np.zeros(shape, bool)
    if len(centres) == 0:
        return found
    centre = centres[rng.integers(len(centres))]
    stretch = rng.uniform(*elongation)
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    reach = int(np.ceil(radius * stretch * 1.5 / tissue.voxel_size_mm)) + 1
    box = tuple(slice(max(c - reach, 0), min(c + reach + 1, n)) for c, n in zip(centre, shape, strict=True))
    offset = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), -1) - centre
    offset = offset * tissue.voxel_size_mm
    along = offset @ direction
    across = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0))
    rough = ndimage.gaussian_filter(rng.standard_normal(along.shape), 1.2)
    rough *= roughness / max(rough.std(), 1e-6)
    found[box] = np.sqrt((along / (radius * stretch)) ** 2 + (across / radius) ** 2) + rough < 1
    return found
