"""Orthogonal axes along which classes are narrow:  D = argmin over O(M) of  sum_m h( d_m' S_m d_m ),  S_m = M_m / s0.

h = log above the floor f of variances; below it, where the floor is the likeliest variance, h(x) = log f + x / f - 1,
which continues the logarithm smoothly. Two axes are turned at a time (as by Flury & Gautschi 1986, SIAM J. Sci. Stat.
Comput. 7:169): a search among angles, then Newton steps. No step is taken that raises the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

SWEEPS = 3
ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 64, endpoint=False)  # with 0 among them: the sum has the period pi
NEWTON_STEPS = 6
ROUNDING = 1e-13  # of the sum: a Newton step to the minimum is known to more digits than what it lowers


def nearest(matrices: np.ndarray) -> np.ndarray:
    """The orthogonal matrices nearest to these, (K, M, M): a mean of orthogonal matrices is none."""
    left, _, right = np.linalg.svd(matrices)
    found: np.ndarray = left @ right
    return found


def improved(axes: np.ndarray, variances: np.ndarray, floor: float) -> np.ndarray:
    """Axes (K, M, M), columns, with a smaller or the same sum.

    Parameters
    ----------
    axes
        Where to begin.
    variances
        S, (K, M, M, M): one matrix per axis.
    """
    axes = axes.copy()
    for _ in range(SWEEPS):
        for a, b in combinations(range(axes.shape[1]), 2):
            pair = axes[:, :, [a, b]]
            one, other = (np.einsum("kia,kij,kjb->kab", pair, variances[:, m], pair) for m in (a, b))
            plane = Plane(one, other, floor)
            angle = plane.best_angle()
            cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
            first, second = pair[..., 0], pair[..., 1]
            axes[:, :, a] = cosine * first + sine * second
            axes[:, :, b] = cosine * second - sine * first
    return axes


class Plane:
    """The plane of two axes, in which both are turned by one angle.

    Parameters
    ----------
    first, second
        (K, 2, 2): the matrices of the two axes, in the coordinates of both.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray, floor: float) -> None:
        self.matrices, self.floor = (first, second), floor

    def best_angle(self) -> np.ndarray:
        """(K,) radians."""
        sums = self._sum(np.tile(ANGLES[:, None], len(self.matrices[0])))
        still = np.argmin(np.abs(ANGLES))
        best = np.where(sums.min(0) < sums[still], ANGLES[sums.argmin(0)], 0.0)
        for _ in range(NEWTON_STEPS):
            slope, curvature = self._derivatives(best)
            step = -slope / np.where(curvature > 0, curvature, np.inf)
            best = best + np.clip(step, -np.pi / 64, np.pi / 64)
        worse = self._sum(best) > self._sum(np.zeros_like(best)) + ROUNDING
        return np.where(worse, 0.0, best)

    def _variances(self, angle: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of both axes, with the first and the second derivative by the angle, (..., K) each."""
        cosine, sine = np.cos(angle), np.sin(angle)
        directions = ((cosine, sine), (-sine, cosine))
        for matrix, (along, across) in zip(self.matrices, directions, strict=True):
            one, both, two = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
            value = along**2 * one + 2 * along * across * both + across**2 * two
            slope = 2 * along * across * (two - one) + 2 * (along**2 - across**2) * both
            curvature = 2 * (along**2 - across**2) * (two - one) - 8 * along * across * both
            yield value, slope, curvature

    def _sum(self, angle: np.ndarray) -> np.ndarray:
        """sum h, (..., K)."""
        total = np.zeros(angle.shape)
        for value, _, _ in self._variances(angle):
            total += np.where(
                value > self.floor,
                np.log(np.maximum(value, self.floor)),
                np.log(self.floor) + value / self.floor - 1,
            )
        return total

    def _derivatives(self, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the sum by the angle, the first and the second, (..., K) each."""
        first, second = np.zeros(angle.shape), np.zeros(angle.shape)
        for value, slope, curvature in self._variances(angle):
            bounded = np.maximum(value, self.floor)
            first += slope / bounded
            second += curvature / bounded - np.where(value > self.floor, (slope / bounded) ** 2, 0)
        return first, second
