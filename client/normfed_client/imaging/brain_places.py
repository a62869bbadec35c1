"""A place of the template in words: side, tissue, and where in the brain.

No atlas of labels is in nilearn's wheel, and those that it downloads may not be shipped; so the words are what follows
from the template itself. They say nothing of lobes, gyri or nuclei, and are those of a place after an affine
registration, which is some millimetres off.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

from normfed_client.imaging.template import BRAIN_LEVEL, tissues, whole
from normfed_common.metrics.tissue import depth_mm

SIZE_MM = 2
MIDLINE_MM = 5.0  # to either side
PERIVENTRICULAR_MM = 10.0  # from the lateral ventricles: Griffanti 2018
BESIDE_GREY_MM = 4.0  # from grey matter: juxtacortical, where the grey matter is cortex (Kim 2008)
VENTRICLES_BELOW_MM = 22.0  # of the brain's surface: fluid that is deeper and in one piece
AXES = (("posterior", "central", "anterior"), ("inferior", "middle", "superior"))  # thirds of the brain's extent
TISSUES = {"grey": "grey matter", "fluid": "fluid", "rim": "surface of the brain"}


def in_words(place_mm: tuple[float, float, float], tissue: str) -> str:
    """Such as ``left periventricular white matter, anterior, superior``.

    Parameters
    ----------
    place_mm
        Right, anterior, superior in the world of MNI152.
    tissue
        One of `normfed_common.metrics.tissue.CLASSES`.
    """
    x, y, z = place_mm
    side = "midline" if abs(x) <= MIDLINE_MM else "left" if x < 0 else "right"
    thirds = (
        words[int(np.clip(3 * (value - low) / (high - low), 0, 2))]
        for value, (low, high), words in zip((y, z), _extent(), AXES, strict=True)
    )
    return f"{side} {_tissue(place_mm, tissue)}, {', '.join(thirds)}"


def _tissue(place_mm: tuple[float, float, float], tissue: str) -> str:
    to_ventricles, to_grey = (_at(distance, place_mm) for distance in _distances())
    if tissue == "fluid" and to_ventricles == 0:
        return "lateral ventricle"
    if tissue != "white":
        return TISSUES[tissue]
    if to_ventricles <= PERIVENTRICULAR_MM:
        return "periventricular white matter"
    return "white matter beside grey matter" if to_grey <= BESIDE_GREY_MM else "deep white matter"


def _at(values: np.ndarray, place_mm: tuple[float, float, float]) -> float:
    """The value at the nearest voxel of the template."""
    _, affine = whole("t1", SIZE_MM)
    voxel = np.round((np.array(place_mm) - affine[:3, 3]) / np.diag(affine)[:3]).astype(int)
    return float(values[tuple(np.clip(voxel, 0, np.array(values.shape) - 1))])


@lru_cache(maxsize=1)
def _distances() -> tuple[np.ndarray, np.ndarray]:
    """From the lateral ventricles and from grey matter, in mm, float64 (X, Y, Z) each; 0 inside."""
    found = np.stack(tissues(SIZE_MM))
    likeliest = np.where(found.sum(0) > 0.5, found.argmax(0), -1)
    brain = whole("t1", SIZE_MM)[0] > BRAIN_LEVEL
    deep = depth_mm(ndimage.binary_fill_holes(ndimage.binary_closing(brain, iterations=2)), SIZE_MM)
    labels, _ = ndimage.label((likeliest == 2) & (deep > VENTRICLES_BELOW_MM))
    ventricles = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    to_ventricles, to_grey = (
        ndimage.distance_transform_edt(~inside, sampling=SIZE_MM) for inside in (ventricles, likeliest == 0)
    )
    return to_ventricles, to_grey


@lru_cache(maxsize=1)
def _extent() -> tuple[tuple[float, float], tuple[float, float]]:
    """Of the template's brain from back to front and from below to above, in mm."""
    t1, affine = whole("t1", SIZE_MM)
    inside = np.argwhere(t1 > BRAIN_LEVEL) @ affine[:3, :3].T + affine[:3, 3]
    (_, back, below), (_, front, above) = inside.min(0), inside.max(0)
    return (float(back), float(front)), (float(below), float(above))
