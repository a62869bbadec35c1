"""The common grid: MNI152 (ICBM 2009a symmetric, as nilearn ships it), cropped to the brain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage

from normfed_client.imaging.cache import Cache, default_root
from normfed_common.foundation import digests
from normfed_common.foundation.errors import DatasetError
from normfed_common.learning.anatomy import Anatomy

MARGIN = (8, 8, 2)  # voxels around the brain: room for half a patch in the axial plane
BRAIN_LEVEL = 0.2  # of the template's maximum, as nilearn's own brain mask
FILES = ("data.npy", "affine.npy")
Kind = Literal["t1", "gm", "wm"]


@dataclass(frozen=True)
class Grid:
    """Shape and affine of the common grid, and the template's brain on it."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    brain: np.ndarray
    voxel_size_mm: int
    box: tuple[slice, slice, slice]  # of the whole template


@lru_cache(maxsize=8)
def whole(kind: Kind, voxel_size_mm: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole template or tissue map: float32 (X, Y, Z) in [0, 1], and its affine.

    Kept in the cache, where there is room for it: every process of a run needs it, and resampling takes a second.
    """
    key = digests.of_json({"template": kind, "voxel_size_mm": voxel_size_mm, "nilearn": version("nilearn")})

    def build(folder: Path) -> None:
        for name, array in zip(FILES, _resampled(kind, voxel_size_mm), strict=True):
            np.save(folder / name, array)

    try:
        folder = Cache(default_root() / "templates").get_or_build(key, build).folder
        data, affine = (np.load(folder / name) for name in FILES)
    except (DatasetError, OSError):  # a disk that is full, or only read
        data, affine = _resampled(kind, voxel_size_mm)
    data.setflags(write=False)
    return data, affine


def _resampled(kind: Kind, voxel_size_mm: int) -> tuple[np.ndarray, np.ndarray]:
    from nilearn import datasets

    load = {
        "t1": datasets.load_mni152_template,
        "gm": datasets.load_mni152_gm_template,
        "wm": datasets.load_mni152_wm_template,
    }[kind]
    image = load(resolution=voxel_size_mm)
    return image.get_fdata(dtype=np.float32), image.affine


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
    x, y, z = box
    cropped = brain[x, y, z]
    return Grid(cropped.shape, moved, cropped, voxel_size_mm, (x, y, z))


@lru_cache(maxsize=4)
def tissues(voxel_size_mm: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of grey matter, white matter and fluid in the whole template, float32 (X, Y, Z) each.

    Its maps have the first two only: fluid is what they leave of the brain, holes filled.
    """
    t1, _ = whole("t1", voxel_size_mm)
    grey, white = (whole(kind, voxel_size_mm)[0] for kind in ("gm", "wm"))
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(t1 > BRAIN_LEVEL, iterations=2))
    inside = ndimage.gaussian_filter(brain.astype(np.float32), 0.6)
    total = np.maximum(grey + white, 1e-6)
    solid = np.minimum(total, inside)
    grey, white = grey / total * solid, white / total * solid
    found = grey, white, np.maximum(inside - grey - white, 0) * brain
    for array in found:
        array.setflags(write=False)
    return found


@lru_cache(maxsize=4)
def anatomy(voxel_size_mm: int) -> Anatomy:
    """What the common grid shows."""
    box = common_grid(voxel_size_mm).box
    return Anatomy(whole("t1", voxel_size_mm)[0][box], *(tissue[box] for tissue in tissues(voxel_size_mm)))
