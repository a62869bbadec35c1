"""Classes of place: the template's likeliest tissue, and the rim of the brain, where partial volumes make scores high.

They are the same in every study, so that no two histograms over the same people cut their brains differently: the
difference of two that did could be about a few people.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from normfed_common.foundation.masks import once_per_mask

CLASSES = ("grey", "white", "fluid", "rim")
RIM_MM = 3.0  # deep: partial volume, and what an affine registration leaves


def tissue_classes(tissues: np.ndarray, mask: np.ndarray, voxel_size_mm: float) -> np.ndarray:
    """The class of every voxel as its place in `CLASSES`, int8 (X, Y, Z); outside the brain it is the rim.

    Parameters
    ----------
    tissues
        (3, X, Y, Z): the template's shares of grey matter, white matter and fluid.
    mask
        bool (X, Y, Z): the person's brain.
    """
    found = tissues.argmax(0).astype(np.int8)
    brain = _filled(mask) & (tissues.sum(0) > 0.5)
    found[_rim(brain, voxel_size_mm)] = CLASSES.index("rim")
    return found


@once_per_mask
def _filled(mask: np.ndarray) -> np.ndarray:
    filled: np.ndarray = ndimage.binary_fill_holes(mask)
    return filled


@once_per_mask
def _rim(brain: np.ndarray, voxel_size_mm: float) -> np.ndarray:
    """Whether a voxel is not below the rim, bool (X, Y, Z)."""
    rim: np.ndarray = depth_mm(brain, voxel_size_mm) <= RIM_MM
    return rim


def depth_mm(mask: np.ndarray, voxel_size_mm: float) -> np.ndarray:
    """How far the centre of a voxel lies below the surface, float64 (X, Y, Z), below 0 outside; beyond the grid is
    outside."""
    distance: np.ndarray = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=voxel_size_mm)
    return distance[1:-1, 1:-1, 1:-1] - voxel_size_mm / 2
