"""Lesions with exact masks: white-matter hyperintensities, MS, tumour, and a subtle cortical one.

Sources: caps and bands that flow together and punctate foci (Fazekas 1987), alike on both sides; their penumbra, white
matter that is a little bright around them (Maillard 2011); plaques' number and sizes (Lesjak 2017); dysplasia's thick
cortex, blurred border and faint FLAIR (Blumcke 2011).

A lesion changes the tissue before the scanner sees it, so that its contrast follows each scanner. Volumes are drawn
first, log-normal; a field of propensity then says where: the voxels in which it is highest, as many as the volume has.
Volumes and contrasts are those of real patients (`benchmarks/bench_phantom.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from normfed_common.study.data import LesionKind
from normfed_simulation.phantom.anatomy import Tissue
from normfed_simulation.phantom.fields import smooth_noise
from normfed_simulation.phantom.shapes import Lesion, blob, highest, ml, ventricle_distance, without_specks
from normfed_simulation.phantom.template import cerebrum, positions_mm
from normfed_simulation.phantom.tumours import add_tumour

# Median ml, standard deviation of the logarithm, least and most ml.
VOLUMES_ML: dict[LesionKind, tuple[float, float, float, float]] = {
    "WMH": (30.0, 1.0, 1.0, 90.0),
    "MS": (7.0, 0.6, 2.0, 20.0),
    "tumour": (165.0, 0.35, 60.0, 280.0),
}
PENUMBRA = 0.5  # of a lesion's own change, around it


def add_lesions(kind: LesionKind, tissue: Tissue, rng: np.random.Generator) -> tuple[Tissue, Lesion]:
    """Lesions of one kind in one person, and the person's tissue with them: a mass pushes it aside."""
    if kind == "tumour":
        return add_tumour(_volume_ml(kind, rng), tissue, rng)
    return tissue, _MAKERS[kind](tissue, rng)


def _wmh(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Small-vessel disease: caps and rims along the ventricles that flow together, and deep spots of many sizes."""
    size, distance = tissue.voxel_size_mm, ventricle_distance(tissue)
    patchy, spotty, ragged = (smooth_noise(tissue.wm.shape, mm / size, rng) for mm in (16.0, 5.0, 4.0))
    patchy = (patchy + patchy[::-1]) / np.sqrt(2)  # the grid is the template's, and symmetric
    depth = ndimage.gaussian_filter(tissue.wm, 3.0 / size)  # spares the fibres right under the cortex
    middle = np.exp(-((positions_mm(size)[0] / 12) ** 2))  # and the corpus callosum
    around = 1.0 - distance / 13 + 0.40 * patchy + 0.10 * ragged
    scattered = rng.uniform(0.2, 0.5) + 0.22 * spotty + 0.2 * patchy - 0.01 * distance
    propensity = np.maximum(around, scattered) + 0.7 * depth - 0.8 * middle
    where = (tissue.wm > 0.5) & cerebrum(tissue.voxel_size_mm)
    mask = highest(propensity, where, _volume_ml("WMH", rng), tissue)
    return _graded(mask, tissue, t1=-0.20, flair=0.72, rng=rng)


def _ms(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Ovoid plaques, mostly beside the ventricles, some under the cortex; dark on T1."""
    distance = ventricle_distance(tissue)
    white = (tissue.wm > 0.5) & cerebrum(tissue.voxel_size_mm)
    under = white & (distance > 15) & (ndimage.gaussian_filter(tissue.gm, 3.0 / tissue.voxel_size_mm) > 0.25)
    places = [np.argwhere(part) for part in (white & (distance < 8), white & (distance < 20), under)]
    wanted = _volume_ml("MS", rng)
    mask = np.zeros(white.shape, bool)
    for number in range(80):
        radius = float(np.clip(1.9 * np.exp(rng.normal(0, 0.75)), 1.1, 8.0)) * (wanted / 7) ** 0.2
        centres = places[0 if number % 2 == 0 else int(rng.integers(1, 3))]
        mask |= blob(centres, radius, (1.0, 2.2), tissue, rng) & (tissue.wm > 0.3)
        if ml(mask, tissue) > wanted:
            break
    return _graded(mask, tissue, t1=-0.28, flair=0.68, rng=rng)


def _fcd(tissue: Tissue, rng: np.random.Generator) -> Lesion:
    """Focal cortical dysplasia: cortex that is too thick, and its border blurred, on T1; barely seen on FLAIR."""
    cortex = (tissue.gm > 0.5) & cerebrum(tissue.voxel_size_mm) & (ventricle_distance(tissue) > 20)
    border = cortex & ndimage.binary_dilation(tissue.wm > 0.6)
    region = blob(np.argwhere(border), rng.uniform(9, 14), (1.0, 1.2), tissue, rng)
    thickened = (
        region & (ndimage.distance_transform_edt(~cortex, sampling=tissue.voxel_size_mm) < 3.5) & (tissue.wm > 0.3)
    )
    mask = region & (cortex | thickened)
    share = ndimage.gaussian_filter((thickened & ~cortex).astype(np.float32), 0.6)
    changed = (share * tissue.wm).astype(np.float32)
    blur = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)
    return Lesion(mask, -0.28 * changed, 0.22 * changed + 0.06 * blur, 0.7 * blur, np.zeros(mask.shape, np.float32))


_MAKERS: dict[LesionKind, Callable[[Tissue, np.random.Generator], Lesion]] = {
    "WMH": _wmh,
    "MS": _ms,
    "FCD": _fcd,
}


def _volume_ml(kind: LesionKind, rng: np.random.Generator) -> float:
    median, spread, least, most = VOLUMES_ML[kind]
    return float(np.clip(median * np.exp(rng.normal(0, spread)), least, most))


def _graded(mask: np.ndarray, tissue: Tissue, t1: float, flair: float, rng: np.random.Generator) -> Lesion:
    """Softer at the rim, uneven within, a little different in every person."""
    size = tissue.voxel_size_mm
    mask = without_specks(mask & tissue.brain, tissue)
    soft, penumbra = (ndimage.gaussian_filter(mask.astype(np.float32), mm / size) for mm in (1.3, 4.0))
    strength = rng.uniform(0.75, 1.1) + 0.22 * smooth_noise(mask.shape, 9.0 / size, rng)
    change = np.maximum(soft * np.clip(strength, 0.3, 1.6), PENUMBRA * penumbra * tissue.wm)
    nothing = np.zeros(mask.shape, np.float32)
    return Lesion(mask, (t1 * change).astype(np.float32), (flair * change).astype(np.float32), nothing, nothing)
