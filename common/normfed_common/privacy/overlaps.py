"""What is told of a place, so that the people who have several of its voxels are as many as those who have one.

A voxel is told of where at least the minimum have it. That does not do for a sum over scans of what each has at a place
as a whole, sum n_i a_i^2: from sum over voxels of x_i^2 it differs by the scatter within scans, which is that of people
with two voxels or more at the place. Two voxels with ten people each may have one person in common. Smaller places
within it differ likewise by the people who have voxels in two of them. All these are enough where the minimum have
every voxel of the place that is told of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np


def in_common(
    people: Callable[[], Iterable[np.ndarray]], told: np.ndarray, place: np.ndarray, minimum: int
) -> np.ndarray:
    """Which voxels may be told of, bool (voxels,): at each place those that the ``minimum`` who have most of it have,
    and those that nobody has.

    Parameters
    ----------
    people
        Called twice, in the same order: the tissue of each person, bool (scans, voxels).
    told
        bool (voxels,): what else allows; of the rest nothing is told anyway.
    place
        Number of the place of every voxel, (voxels,).
    """
    places = int(place.max(initial=0)) + 1
    counts = np.array([np.bincount(place[scans.all(0) & told], minlength=places) for scans in people()])
    if not len(counts):
        return np.ones(told.shape, bool)
    fullest = np.zeros(counts.shape, bool)
    np.put_along_axis(fullest, np.argsort(-counts, axis=0, kind="stable")[:minimum], True, axis=0)
    lacking, somebody = np.zeros((2, *told.shape), bool)
    for scans, among in zip(people(), fullest, strict=True):
        lacking |= among[place] & ~scans.all(0)
        somebody |= scans.any(0)
    found: np.ndarray = ~(lacking & somebody)
    return found
