"""What a network of slices sees: the template's brain and a margin, and beside intensities where in the brain they are.

stack of slice z = (y_1(z-1), y_1(z), y_1(z+1), y_2(z-1), ...; grey, white, T1 of the template at z; |x|, y, z)
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from normfed_common.learning.anatomy import Anatomy
from normfed_common.models.voxelwise.intensities import UNITS

OUTSIDE = UNITS[0]  # of the brain
MARGIN_MM = 4.0  # around the template's brain: registration is not exact
HALVINGS = 2
BRAIN, SPREAD_MM = 0.05, 1.4
GUIDES = 6  # channels beside intensities


class Window:
    """The axial rectangle around the template's brain, of sides that halve without remainder.

    Parameters
    ----------
    anatomy
        On the grid of the scans.
    """

    def __init__(self, anatomy: Anatomy, voxel_size_mm: float) -> None:
        margin, sigma = round(MARGIN_MM / voxel_size_mm), SPREAD_MM / voxel_size_mm
        brain = anatomy.tissues().sum(0) > BRAIN
        if not brain.any():
            brain = np.ones_like(brain)
        ends = [np.flatnonzero(brain.any(tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
        self.start = tuple(int(low) - margin for low, _ in ends[:2])
        self.sides = tuple(_halving(int(high - low) + 1 + 2 * margin) for low, high in ends[:2])
        self.depth = brain.shape[2]
        self.area = float(brain.sum() / (ends[2][1] - ends[2][0] + 1))  # of a slice's brain, voxels
        axes = [np.arange(size) for size in brain.shape]
        at = np.meshgrid(*[_centred(axis, *end) for axis, end in zip(axes, ends, strict=True)], indexing="ij")
        tissues = [ndimage.gaussian_filter(v, sigma) for v in (anatomy.grey, anatomy.white, anatomy.t1)]
        self.guides = np.stack([*tissues, np.abs(at[0]), at[1], at[2]]).astype(np.float32)
        self.white = anatomy.white

    def slab(self, volume: np.ndarray, first: int, depth: int, outside: float = 0.0) -> np.ndarray:
        """A copy of (..., X, Y, Z) within the window, from slice ``first`` on: (..., *sides, depth).

        What lies beyond the grid has the value ``outside``.
        """
        begin, sizes = (*self.start, first), (*self.sides, depth)
        found = np.full((*volume.shape[:-3], *sizes), outside, volume.dtype)
        low = [max(0, start) for start in begin]
        high = [min(n, start + size) for n, start, size in zip(volume.shape[-3:], begin, sizes, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            goal = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, begin, strict=True))
            found[..., goal[0], goal[1], goal[2]] = volume[..., source[0], source[1], source[2]]
        return found

    def back(self, slices: np.ndarray, shape: tuple[int, ...], outside: float) -> np.ndarray:
        """Undo `slab` of all slices (Z, *sides): (X, Y, Z), ``outside`` beyond the window."""
        found = np.full(shape, outside, slices.dtype)
        low = [max(0, start) for start in self.start]
        high = [min(n, a + size) for n, a, size in zip(shape[:2], self.start, self.sides, strict=True)]
        cut = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, self.start, strict=True))
        found[low[0] : high[0], low[1] : high[1]] = np.moveaxis(slices[(slice(None), *cut)], 0, 2)
        return found


def stacks(units: np.ndarray, guides: np.ndarray) -> np.ndarray:
    """Of every inner slice of a slab, float32 (Z - 2, 3 C + 6, *sides); see the module.

    Parameters
    ----------
    units
        (C, *sides, Z).
    guides
        (6, *sides, Z).
    """
    inner = units.shape[-1] - 2
    neighbours = np.stack([units[..., step : step + inner] for step in range(3)], 1)
    seen = np.concatenate([neighbours.reshape(-1, *neighbours.shape[2:]), guides[..., 1:-1]])
    return np.ascontiguousarray(np.moveaxis(seen, -1, 0), np.float32)


def _halving(size: int) -> int:
    unit = 2**HALVINGS
    return -(-size // unit) * unit


def _centred(index: np.ndarray, low: int, high: int) -> np.ndarray:
    """From -1 to 1 over the brain."""
    return (2 * index - low - high) / max(1, high - low)
