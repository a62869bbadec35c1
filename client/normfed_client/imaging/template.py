"""The common grid: MNI152 (ICBM 2009a symmetric, as nilearn ships it), cropped to the brain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

MARGIN = (8, 8, 2)  # voxels around the brain: room for half a patch in the axial plane
BRAIN_LEVEL = 0.2  # of the template's maximum, as nilearn's own brain mask
Kind = Literal["t1", "gm", "wm"]


@dataclass(frozen=True)
class Grid:
    """Shape and affine of the common grid, and the template's brain on it."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    brain: np.ndarray
    voxel_size_mm: int


@lru_cache(maxsize=8)
def whole(kind: Kind, voxel_size_mm: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole template or tissue map: float32 (X, Y, Z) in [0, 1], and its affine."""
    from nilearn import datasets

    load = {
        "t1": datasets.load_mni152_template,
        "gm": datasets.load_mni152_gm_template,
        "wm": datasets.load_mni152_wm_template,
    }[kind]
    image = load(resolution=voxel_size_mm)
    data = image.get_fdata(dtype=np.float32)
    data.setflags(write=False)
    return data, image.affine


@lru_cache(maxsize=4)
def common_grid(voxel_size_mm: int) -> Grid:
    """The grid that all volumes of a study share."""
    template, affine = whole("t1", voxel_size_mm)
    brain = template > BRAIN_LEVEL
    box = []
    for axis in range(3):
        inside = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
        start = max(inside[0] - MARGIN[axis], 0)
        box.append(slice(int(start), int(min(inside[-1] + 1 + MARGIN[axis], template.shape[axis]))))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    cropped = brain[tuple(box)]
    return Grid(cropped.shape, moved, cropped, voxel_size_mm)
