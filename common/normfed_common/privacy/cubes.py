"""Sums per voxel over few people are close to scans; as means over cubes they are not, and models can still use them.

A mean over c x c x c voxels cannot be undone, as a smoothing with a Gaussian can (its inverse exists, and float64 has
the digits for it).
"""

from __future__ import annotations

import math

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.setting import Places


def averaged(sums: Arrays, places: Places, edge_mm: float) -> Arrays:
    """Sums per place, each replaced by the mean over the cube of places that it lies in; totals stay the same.

    Parameters
    ----------
    sums
        Arrays over ``places``, which come first or last in the shape, flat or as a grid; those of ``places.pairs`` over
        pairs of them; those that are not over places are passed on if ``places.beside`` names them.
    edge_mm
        Of the cubes at least; sums over places as large as that are passed on.

    Raises
    ------
    SiteError
        If it cannot be told where in an array the places are, as it would leave person by person.
    """
    width = math.ceil(edge_mm / places.edge_mm - 1e-9)
    if width <= 1:
        return sums
    return {name: _array(name, array, places, width) for name, array in sums.items()}


def _array(name: str, array: np.ndarray, places: Places, width: int) -> np.ndarray:
    if name in places.pairs:
        return _pairs(array, places.shape, width)
    layouts = _layouts(array.shape, places.shape)
    if not layouts and name in places.beside:
        return array
    if len(layouts) != 1:
        cause = (
            "more than one of its axes may be the places"
            if layouts
            else "it is not over the places, and the model's places do not name it as beside them"
        )
        raise SiteError(
            SiteCode.INTERNAL, f"{name} of shape {array.shape} must not leave: of places {places.shape}, {cause}"
        )
    before, after = layouts.pop()
    return _cubes(array.reshape(before, *places.shape, after), width).reshape(array.shape)


def _pairs(array: np.ndarray, grid: tuple[int, int, int], width: int) -> np.ndarray:
    """Means over cubes of both, of an array (m, ..., X, Y, Z, ..., X, Y, Z) whose two parts after m are alike."""
    size = math.prod(array.shape[-((array.ndim - 1) // 2) :])
    found = array.reshape(-1, size, size)
    for _ in range(2):
        found = _cubes(found.reshape(-1, *grid, 1), width).reshape(found.shape).swapaxes(1, 2)
    return found.reshape(array.shape)


def _layouts(shape: tuple[int, ...], grid: tuple[int, int, int]) -> set[tuple[int, int]]:
    """How many entries of an array are before, and how many after, the axes that may be the places."""
    found = set()
    for places in (grid, (math.prod(grid),)):
        axes = len(places)
        if shape[:axes] == places:
            found.add((1, math.prod(shape[axes:])))
        if shape[-axes:] == places:
            found.add((math.prod(shape[:-axes]), 1))
    return found


def _cubes(arrays: np.ndarray, width: int) -> np.ndarray:
    """Means over cubes of (m, X, Y, Z, n), each put back at every place of its cube; those at the far ends are
    smaller."""
    for axis in (1, 2, 3):
        size = arrays.shape[axis]
        starts = np.arange(0, size, width)
        lengths = np.diff(np.append(starts, size))
        sides = [1, 1, 1, 1, 1]
        sides[axis] = len(starts)
        means = np.add.reduceat(arrays, starts, axis) / lengths.reshape(sides)
        arrays = np.repeat(means, lengths, axis)
    return arrays
