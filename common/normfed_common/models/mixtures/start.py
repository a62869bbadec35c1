"""Where classes start: the K means of all voxels together (Lloyd 1982), by sums; nothing is drawn.

The first means are K points of Halton's sequence in M dimensions (1960), which fill a cube evenly whatever K is, as
quantiles of a Gaussian with the mean and the covariance of all voxels. Every round a site sends, for each mean, the
moments of the voxels nearest to it; their totals make the next means, and in the end the classes. Without these rounds
classes that begin alike can stay alike for hundreds of rounds of expectation maximisation.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from normfed_common.foundation.arrays import Arrays
from normfed_common.models.mixtures.classes import Moments, products, scatter

ROUNDS = 20  # at most
ENOUGH = 1e-3  # ends when the squared distances to the nearest mean shrink by a smaller share


def first_means(moments: Moments, classes: int) -> np.ndarray:
    """(K, M)."""
    points = qmc.Halton(len(moments.mean), scramble=False).random(classes + 1)[1:]  # the first is a corner of the cube
    values, axes = np.linalg.eigh(moments.covariance)
    spread = axes * np.sqrt(np.maximum(values, 0))
    found: np.ndarray = moments.mean + ndtri(points) @ spread[:, ::-1].T  # the finest spacing along the longest axis
    return found


def nearest(means: np.ndarray, y: np.ndarray) -> Arrays:
    """Sums over the voxels (M, n) that are nearest to each mean, named and shaped as those of `Gaussian.sums`."""
    squares = (means**2).sum(1)[:, None] - 2 * means @ y
    shares = (squares.argmin(0) == np.arange(len(means))[:, None]).astype(np.float64)
    second = (shares @ products(y).T).reshape(len(means), len(y), len(y))
    return {"responsibility": shares.sum(1), "first": shares @ y.T, "second": second}


def next_means(sums: Arrays, moments: Moments) -> np.ndarray:
    """(K, M); a mean that no voxel is nearest to begins again."""
    counts = sums["responsibility"][:, None]
    found: np.ndarray = sums["first"] / np.maximum(counts, 1)
    return np.where(counts < 1, first_means(moments, len(counts)), found)


def spread(sums: Arrays) -> float:
    """Sum of the squared distances of voxels to the mean of those with them."""
    return float(np.trace(scatter(sums["responsibility"], sums["first"], sums["second"]), axis1=1, axis2=2).sum())
