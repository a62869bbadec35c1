"""Voxels of a scan as vectors y of their modalities, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.learning.cohort import Scan
from normfed_common.privacy import disclosure

COUNT = "count"
NOT_OF_VOXELS = ("likelihood", "axes")
AT_ONCE = 16_384  # keep responsibilities in the processor's cache


def drawn(scan: Scan, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many normal voxels, float64 (M, n); nothing is drawn where there are no more."""
    index = np.asarray(scan.normal_index)
    if len(index) > most:
        index = np.sort(rng.choice(index, most, replace=False, shuffle=False))
    x, y, z = np.unravel_index(index, scan.mask.shape)
    return scan.images[:, x, y, z].astype(np.float64)


def chunks(voxels: int) -> list[slice]:
    """All of so many voxels, `AT_ONCE` by `AT_ONCE`; one slice where there are none."""
    return [slice(begin, begin + AT_ONCE) for begin in range(0, max(voxels, 1), AT_ONCE)]


def moments(y: np.ndarray) -> Arrays:
    """``count`` n, ``first`` sum y (M,), ``second`` sum y y' (M, M), of voxels (M, n)."""
    return {COUNT: np.asarray(float(y.shape[1])), "first": y.sum(1), "second": y @ y.T}


def summed(of_classes: Mapping[int, Callable[[np.ndarray], Arrays]], y: np.ndarray) -> Arrays:
    """``count`` n, and sums over voxels (M, n) by number of classes K, as ``K.name``."""
    found: Arrays = {COUNT: np.asarray(float(y.shape[1]))}
    for k, sums in of_classes.items():
        total = add(sums(y[:, rows]) for rows in chunks(y.shape[1]))
        found |= {f"{k}.{name}": array for name, array in total.items()}
    return found


def of_enough_people(sums: Arrays, shares: np.ndarray, prefix: str, minimum: int) -> Arrays:
    """Sums over the voxels of all people, in which a class of few people's voxels is counted to the largest class.

    Parameters
    ----------
    shares
        (people, K): everybody's part of ``responsibility``.
    prefix
        Of the arrays of K classes, all sums over their voxels but what stands for the classes themselves.
    """
    found, shares = dict(sums), shares.copy()
    moved = [name for name in sums if name.startswith(prefix) and name.removeprefix(prefix) not in NOT_OF_VOXELS]
    found |= {name: sums[name].copy() for name in moved}
    while (few := disclosure.concentrated(shares, minimum)).any() and (shares.sum(0) > 0).sum() > 1:
        least = min(np.flatnonzero(few), key=lambda number: shares[:, number].sum())
        total = shares.sum(0)
        total[least] = -1
        largest = int(total.argmax())
        for array in (shares.T, *(found[name] for name in moved)):
            array[largest] += array[least]
            array[least] = 0
    return found


def part(sums: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    """The arrays whose names begin so, without it."""
    return {name.removeprefix(prefix): array for name, array in sums.items() if name.startswith(prefix)}
