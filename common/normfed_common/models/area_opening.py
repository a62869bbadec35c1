"""Area opening of a map: every peak that is smaller than an area is cut down to the level at which it is as large.

opened(v) = max {t : the component of {f >= t} that v is in has at least so many voxels}. Vincent 1993 (Mathematical
morphology and its applications to signal processing, 22-27). After it, at every threshold, each cluster is large
enough; a cluster that was large enough before is not changed by it.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

# Half of the 26 neighbours: of every pair of voxels that touch, the one comes first.
FORWARD = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


def area_opening(values: np.ndarray, voxels: int) -> np.ndarray:
    """Opened values of shape (X, Y, Z), with 26-connectivity; 0 is the ground, which nothing is cut below.

    Takes about a second for a brain at 2 mm, and some 500 bytes a voxel.

    Parameters
    ----------
    values
        Finite, never negative.
    voxels
        That a peak has at least.
    """
    if voxels <= 1:
        return values
    index = np.flatnonzero(values > 0)
    levels, rank = np.unique(values.ravel()[index], return_inverse=True)
    first, second = _touching(values.shape, index)
    opened = np.zeros(len(index), values.dtype)
    for voxel, level in _cut(*_tree(first, second, rank), len(index), voxels).items():
        opened[voxel] = levels[level]
    found = np.zeros(values.size, values.dtype)
    found[index] = opened
    return found.reshape(values.shape)


def _touching(shape: tuple[int, ...], index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of voxels that touch, by their places in ``index``."""
    number = np.full(np.prod(shape), -1, np.int32)
    number[index] = np.arange(len(index), dtype=np.int32)
    grid = np.pad(number.reshape(shape), 1, constant_values=-1)
    inner = (slice(1, -1),) * 3
    pairs = [np.empty((2, 0), np.int32)]
    for step in FORWARD:
        moved = grid[tuple(slice(1 + s, n + 1 + s) for s, n in zip(step, shape, strict=True))]
        both = (grid[inner] >= 0) & (moved >= 0)
        pairs.append(np.stack([grid[inner][both], moved[both]]))
    first, second = np.concatenate(pairs, axis=1)
    return first, second


def _tree(first: np.ndarray, second: np.ndarray, rank: np.ndarray) -> tuple[list[int], list[int], list[int]]:
    """The pairs by which components join as the level falls, highest first, and the rank of that level."""
    top = int(rank.max(initial=0)) + 1
    weight = (top - np.minimum(rank[first], rank[second])).astype(np.float64)  # 0 would be no edge
    size = len(rank)
    tree = minimum_spanning_tree(coo_array((weight, (first, second)), shape=(size, size)).tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    level = (top - tree.data[order]).astype(np.int64)
    return tree.row[order].tolist(), tree.col[order].tolist(), level.tolist()


def _cut(first: list[int], second: list[int], level: list[int], size: int, voxels: int) -> dict[int, int]:
    """The rank of the level that each voxel is cut down to, of those that ever are in a component large enough."""
    parent = list(range(size))
    small: list[list[int] | None] = [[voxel] for voxel in range(size)]  # by root; None of one that is large enough
    found: dict[int, int] = {}

    def root(voxel: int) -> int:
        while parent[voxel] != voxel:
            parent[voxel] = parent[parent[voxel]]
            voxel = parent[voxel]
        return voxel

    for one, other, height in zip(first, second, level, strict=True):
        a, b = root(one), root(other)
        ours, theirs = small[a], small[b]
        if ours is None and theirs is None:
            continue  # which of the large ones they belong to does not matter
        together = (ours or []) + (theirs or [])
        parent[a] = b
        if ours is None or theirs is None or len(together) >= voxels:
            found |= dict.fromkeys(together, height)
            small[b] = None
        else:
            small[b] = together
    return found
