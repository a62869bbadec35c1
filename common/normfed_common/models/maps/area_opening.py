"""Area opening of a map: every peak that is smaller than an area is cut down to the level at which it is as large.

opened(v) = max {t : the component of {f >= t} that v is in has at least so many voxels}. Vincent 1993 (Mathematical
morphology and its applications to signal processing, 22-27). After it, at every threshold, each cluster is large
enough; a cluster that was large enough before is not changed by it.

Components join along a minimum spanning tree of the voxels that touch, each pair at the lower value of the two. Most
voxels need no tree: one that touches enough others as high as itself stays as it is, and all these are one node.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

STEPS = [step for step in product((-1, 0, 1), repeat=3) if any(step)]  # to the 26 neighbours
FORWARD = [step for step in STEPS if step > (0, 0, 0)]  # of every two that touch, one comes first
LARGE = 0  # the node of the voxels that stay

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # nodes, nodes that they touch, and the level at which they join


def area_opening(values: np.ndarray, voxels: int) -> np.ndarray:
    """Opened values of shape (X, Y, Z), with 26-connectivity; 0 is the ground, which nothing is cut below.

    Parameters
    ----------
    values
        Finite, never negative.
    voxels
        That a peak has at least.
    """
    if voxels <= 1:
        return values
    padded = np.pad(values, 1)
    as_high = np.ones(values.shape, np.int8)
    for step in STEPS:
        as_high += _moved(padded, step) >= values
    stays = (values > 0) & (as_high >= voxels)
    doubtful = np.flatnonzero((values > 0) & ~stays)
    node = np.full(values.shape, -1, np.int32)
    node.reshape(-1)[doubtful] = 1 + np.arange(len(doubtful), dtype=np.int32)
    parts = (_with_each_other(node, padded), _with_large(node, padded, stays))
    first, second, level = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = values.copy()
    found[node > LARGE] = _cut(first, second, level, 1 + len(doubtful), voxels)[1:]
    return found


def _moved(padded: np.ndarray, step: tuple[int, ...]) -> np.ndarray:
    """The neighbour's value at every voxel."""
    return padded[tuple(slice(1 + s, n - 1 + s) for s, n in zip(step, padded.shape, strict=True))]


def _with_each_other(node: np.ndarray, padded: np.ndarray) -> Pairs:
    values, nodes = _moved(padded, (0, 0, 0)), np.pad(node, 1, constant_values=-1)
    pairs = []
    for step in FORWARD:
        other = _moved(nodes, step)
        both = (node > LARGE) & (other > LARGE)
        pairs.append((node[both], other[both], np.minimum(values, _moved(padded, step))[both]))
    first, second, level = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return first, second, level


def _with_large(node: np.ndarray, padded: np.ndarray, stays: np.ndarray) -> Pairs:
    """Each node at the highest level at which it touches a voxel that stays."""
    values, staying = _moved(padded, (0, 0, 0)), padded * np.pad(stays, 1)
    highest = np.maximum.reduce([_moved(staying, step) for step in STEPS])
    touch = (node > LARGE) & (highest > 0)
    return node[touch], np.full(touch.sum(), LARGE, np.int32), np.minimum(values, highest)[touch]


def _cut(first: np.ndarray, second: np.ndarray, level: np.ndarray, size: int, voxels: int) -> np.ndarray:
    """The level that each node is cut down to, of shape (size,); 0 of what is never large enough."""
    levels, rank = np.unique(level, return_inverse=True)
    weight = (len(levels) - rank).astype(np.float64)  # the highest first; 0 would be no edge
    tree = minimum_spanning_tree(coo_array((weight, (first, second)), shape=(size, size)).tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    joined = levels[(len(levels) - tree.data[order]).astype(np.int64)] if len(levels) else level
    parent = list(range(size))
    small: list[list[int] | None] = [None, *([one] for one in range(1, size))]  # by root; None of a large component
    found = np.zeros(size, level.dtype)

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for one, other, height in zip(tree.row[order].tolist(), tree.col[order].tolist(), joined, strict=True):
        a, b = root(one), root(other)
        ours, theirs = small[a], small[b]
        if ours is None and theirs is None:
            continue  # which of the large ones they belong to does not matter
        together = (ours or []) + (theirs or [])
        parent[a] = b
        if ours is None or theirs is None or len(together) >= voxels:
            found[together] = height
            small[b] = None
        else:
            small[b] = together
    return found
