"""Sums per voxel over few people are close to scans; as means over cubes they are not, and models can still use them.

A mean over c x c x c voxels cannot be undone, as a smoothing with a Gaussian can (its inverse exists, and float64 has
the digits for it).
"""

from __future__ import annotations

import math

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.setting import Places


def averaged(sums: Arrays, places: Places, edge_mm: float) -> Arrays:
    """Sums per place, each replaced by the mean over the cube of places that it lies in; totals stay the same.

    Parameters
    ----------
    sums
        Arrays over ``places``, which come first or last in the shape, flat or as a grid; others are passed on.
    edge_mm
        Of the cubes at least; sums over places as large as that are passed on.
    """
    width = math.ceil(edge_mm / places.edge_mm - 1e-9)
    if width <= 1:
        return sums
    return {name: _array(array, places.shape, width) for name, array in sums.items()}


def _array(array: np.ndarray, shape: tuple[int, int, int], width: int) -> np.ndarray:
    if array.shape[-3:] == shape:
        return _cubes(array.reshape(-1, *shape), width).reshape(array.shape)
    flat = array.shape[:1] == (math.prod(shape),)
    if flat or array.shape[:3] == shape:
        first = np.moveaxis(array.reshape(*shape, -1), -1, 0)
        return np.moveaxis(_cubes(first, width), 0, -1).reshape(array.shape)
    return array


def _cubes(arrays: np.ndarray, width: int) -> np.ndarray:
    """Means over cubes of (n, X, Y, Z), each put back at every place of its cube; cubes at the far ends are smaller."""
    for axis in (1, 2, 3):
        size = arrays.shape[axis]
        starts = np.arange(0, size, width)
        lengths = np.diff(np.append(starts, size))
        sides = [1, 1, 1, 1]
        sides[axis] = len(starts)
        means = np.add.reduceat(arrays, starts, axis) / lengths.reshape(sides)
        arrays = np.repeat(means, lengths, axis)
    return arrays
