"""The classes of a mixture of voxel vectors y in R^M, and what both of its distributions have in common.

    p(y) = sum_k pi_k p_k(y),    q_km(y) = (d_km' (y - mu_k))^2 / A_km,    D_k = (d_k1 ... d_kM) orthogonal
    E-step: r_k(y) = pi_k p_k(y) / p(y), and sums over voxels of r_k times what the M-step needs

Sums are additive, so that the M-step of all sites' sums is that of their people in one place. No A_km is ever below the
floor of `Moments`: a class that shrinks onto clipped voxels, all of one value, would have an infinite likelihood. The
M-step is the maximum under that bound, so the likelihood never falls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.learning.scatter import check_semidefinite
from normfed_common.learning.setting import SUMS_ROUNDING

TINY = 1e-200  # stands for nobody in a class, where 0 would divide


@dataclass(frozen=True)
class Moments:
    """Of all voxels together.

    Parameters
    ----------
    mean
        (M,).
    covariance
        (M, M).
    floor
        The least variance of a class along any of its axes.
    """

    mean: np.ndarray
    covariance: np.ndarray
    floor: float

    @property
    def log_peak(self) -> float:
        """Log of a density that no class exceeds: a Gaussian's at its mean, every axis at the floor."""
        return float(-0.5 * len(self.mean) * np.log(2 * np.pi * self.floor))


@dataclass(frozen=True)
class Classes(ABC):
    """K classes.

    Parameters
    ----------
    weights
        pi, (K,).
    means
        mu, (K, M).
    axes
        D, (K, M, M): axis m of class k is the column ``axes[k, :, m]``.
    scales
        A, (K, M).
    """

    weights: np.ndarray
    means: np.ndarray
    axes: np.ndarray
    scales: np.ndarray

    @classmethod
    @abstractmethod
    def start(cls, sums: Mapping[str, np.ndarray], count: float, moments: Moments) -> Self:
        """Where expectation maximisation begins, of the sums of `start.nearest`."""

    @classmethod
    @abstractmethod
    def of(cls, sums: Mapping[str, np.ndarray], count: float, moments: Moments) -> Self:
        """M-step: the classes that sums over ``count`` voxels make."""

    @classmethod
    @abstractmethod
    def check(cls, sums: Arrays, count: float, classes: int, value_range: tuple[float, float]) -> None:
        """Whether ``count`` voxels with values in that range can have these sums.

        Raises
        ------
        WireError
            If they cannot.
        """

    @staticmethod
    @abstractmethod
    def parameters(classes: int, modalities: int) -> int:
        """How many free parameters so many classes have."""

    @abstractmethod
    def sums(self, y: np.ndarray) -> Arrays:
        """E-step over voxels (M, n): ``likelihood`` (), ``responsibility`` (K,), and what `of` needs besides."""

    @abstractmethod
    def log_classes(self, squares: np.ndarray) -> np.ndarray:
        """log p_k, (K, n), of q (K, M, n)."""

    @abstractmethod
    def weights_of(self, squares: np.ndarray) -> np.ndarray:
        """u_km: how typical of a class a voxel is along an axis, (K, M, n), of q (K, M, n)."""

    def squares(self, y: np.ndarray) -> np.ndarray:
        """q, (K, M, n), of voxels (M, n)."""
        classes, size = self.scales.shape
        rows = np.swapaxes(self.axes, 1, 2) / np.sqrt(self.scales)[..., None]
        offsets = np.einsum("kmj,kj->km", rows, self.means)
        found = rows.reshape(-1, size) @ y
        found -= offsets.reshape(-1, 1)
        return np.square(found, out=found).reshape(classes, size, y.shape[1])

    def shares(self, log_classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """r (K, n) and log p (n,), of log p_k (K, n)."""
        joint = log_classes + np.log(self.weights)[:, None]
        top = joint.max(0)
        np.exp(joint - top, out=joint)
        total = joint.sum(0)
        joint /= total
        return joint, top + np.log(total)

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """log p of voxels (M, n), (n,)."""
        return self.shares(self.log_classes(self.squares(y)))[1]

    @property
    def highest_log_density(self) -> float:
        """No log p is above it: that of a voxel which were at the mean of all classes at once."""
        return float(self.shares(self.log_classes(np.zeros((*self.scales.shape, 1))))[1][0])

    def proximity(self, y: np.ndarray) -> np.ndarray:
        """max_m sum_k r_k u_km of voxels (M, n), (n,): high = typical (Arnaud et al. 2018)."""
        squares = self.squares(y)
        shares = self.shares(self.log_classes(squares))[0]
        found: np.ndarray = np.einsum("kn,kmn->mn", shares, self.weights_of(squares)).max(0)
        return found


def check_common(sums: Arrays, count: float) -> None:
    """Responsibilities are shares of the voxels.

    Raises
    ------
    WireError
        If they are below 0 or add up to something else.
    """
    shares = sums["responsibility"]
    if (shares < 0).any() or abs(shares.sum() - count) > SUMS_ROUNDING * count:
        raise WireError("responsibilities do not add up to the voxels")


def check_moments(weight: np.ndarray, first: np.ndarray, second: np.ndarray, value_range: tuple[float, float]) -> None:
    """Whether weighted sums of vectors y with values in a range can be these; leading axes are sums of their own.

    Parameters
    ----------
    weight, first, second
        sum w of shape (...), sum w y (..., M), sum w y y' (..., M, M), all w >= 0.

    Raises
    ------
    WireError
        If a value were out of range, or the scatter  sum w y y' - sum w y sum w y' / sum w  not positive semidefinite.
    """
    low, high = value_range
    largest = max(abs(low), abs(high))
    if (weight < 0).any():
        raise WireError("weights are below 0")
    slack = SUMS_ROUNDING * largest * weight[..., None]
    if (first < low * weight[..., None] - slack).any() or (first > high * weight[..., None] + slack).any():
        raise WireError(f"sums are not of values between {low:g} and {high:g}")
    rounding = (SUMS_ROUNDING * largest**2 * weight)[..., None]
    if (np.abs(second) > largest**2 * weight[..., None, None] + rounding[..., None]).any():
        raise WireError(f"products are not of values between {low:g} and {high:g}")
    if (np.abs(second - np.swapaxes(second, -1, -2)) > rounding[..., None]).any():
        raise WireError("products are not symmetric")
    check_semidefinite(scatter(weight, first, second), np.trace(second, axis1=-2, axis2=-1))


def products(y: np.ndarray) -> np.ndarray:
    """y y' of every voxel (M, n), flat, (M^2, n)."""
    return (y[:, None] * y).reshape(len(y) ** 2, y.shape[1])


def scatter(weight: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """sum w y y' - sum w y sum w y' / sum w, (..., M, M)."""
    found: np.ndarray = second - first[..., :, None] * (first / np.maximum(weight, TINY)[..., None])[..., None, :]
    return (found + np.swapaxes(found, -1, -2)) / 2
