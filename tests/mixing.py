"""Voxels of known classes, and expectation maximisation without a model or a federation around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from normfed_common.foundation.arrays import add
from normfed_common.models.mixtures import start
from normfed_common.models.mixtures.classes import Classes, Moments, scatter

FLOOR = 1e-4
RANGE = (0.0, 2.0)  # of values


def voxels(seed: int, size: int = 2, count: int = 2000, clipped: bool = False) -> np.ndarray:
    """(M, n) in `RANGE`: three oblique classes, the last with heavy tails; `clipped`, many of value 0."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0.5, 1.5, (3, size))
    mixing = 0.12 * rng.standard_normal((3, size, size))
    which = rng.choice(3, count, p=[0.5, 0.3, 0.2])
    noise = np.where(which[:, None] == 2, rng.standard_t(3, (count, size)), rng.standard_normal((count, size)))
    y = (centres[which] + np.einsum("nij,nj->ni", mixing[which], noise)).T
    if clipped:
        y[0, : count // 20] = -1
    return np.clip(y, *RANGE)


def moments_of(y: np.ndarray, floor: float = FLOOR) -> Moments:
    """Of voxels (M, n)."""
    covariance = scatter(np.asarray(float(y.shape[1])), y.sum(1), y @ y.T) / y.shape[1]
    return Moments(y.mean(1), covariance, floor)


def beginning(kind: type[Classes], sites: Sequence[np.ndarray], classes: int, floor: float = FLOOR) -> Classes:
    """Of five rounds of K means."""
    everybody = np.concatenate(sites, axis=1)
    moments = moments_of(everybody, floor)
    means = start.first_means(moments, classes)
    for _ in range(5):
        total = add(start.nearest(means, y) for y in sites)
        means = start.next_means(total, moments)
    return kind.start(total, everybody.shape[1], moments)


def rounds(
    kind: type[Classes], sites: Sequence[np.ndarray], classes: int, floor: float = FLOOR
) -> Iterator[tuple[Classes, float]]:
    """After every round, without end: the classes of all sites' sums, and the mean log-likelihood before them."""
    everybody = np.concatenate(sites, axis=1)
    moments, count = moments_of(everybody, floor), everybody.shape[1]
    fitted = beginning(kind, sites, classes, floor)
    while True:
        total = add(fitted.sums(y) for y in sites)
        fitted = kind.of(total, count, moments)
        yield fitted, float(total["likelihood"]) / count
