"""What a lesion is, and where it lies: ellipsoids, the voxels of highest propensity, and pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_simulation.phantom.anatomy import Tissue

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


def ml(mask: np.ndarray, tissue: Tissue) -> float:
    """Volume of a mask."""
    return float(mask.sum()) * tissue.voxel_size_mm**3 / 1e3


def highest(propensity: np.ndarray, where: np.ndarray, volume_ml: float, tissue: Tissue) -> np.ndarray:
    """bool: the voxels of ``where`` with the highest propensity, ``volume_ml`` of them."""
    values = propensity[where]
    count = min(round(volume_ml * 1e3 / tissue.voxel_size_mm**3), len(values))
    if count == 0:
        return np.zeros(where.shape, bool)
    chosen: np.ndarray = where & (propensity >= np.partition(values, -count)[-count])
    return chosen


def largest(mask: np.ndarray) -> np.ndarray:
    """bool: the largest piece."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    found: np.ndarray = mask & (labels == sizes.argmax())
    return found


def without_specks(mask: np.ndarray, tissue: Tissue) -> np.ndarray:
    """bool: the pieces of at least `SMALLEST_MM3`."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 0:
        return mask
    keep = np.bincount(labels.ravel()) * tissue.voxel_size_mm**3 >= SMALLEST_MM3
    keep[0] = False
    kept: np.ndarray = keep[labels]
    return kept


def ventricle_distance(tissue: Tissue) -> np.ndarray:
    """mm to the lateral ventricles, (X, Y, Z)."""
    distance: np.ndarray = ndimage.distance_transform_edt(tissue.ventricles < 0.5, sampling=tissue.voxel_size_mm)
    return distance


def blob(
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
