"""Classes with heavy tails along each axis (multiple-scale t: Forbes & Wraith 2014, Statistics and Computing 24:971).

    p_k = prod_m  Gamma((nu_m + 1) / 2) / ( Gamma(nu_m / 2) sqrt(pi A_m nu_m) )  (1 + q_m / nu_m)^(-(nu_m + 1) / 2)

E-step (Arnaud et al. 2018, IEEE TMI; Oudoumanessah et al. 2023, MICCAI), with W_m ~ Gamma(nu_m / 2, nu_m / 2):

    a = (nu + 1) / 2,  b = (nu + q) / 2,  u = E W = a / b,  ut = E log W = digamma(a) - log b

M-step, with s0 = sum r, and for every axis s3 = sum r u, s4 = sum r ut, s1 = sum r u y, S2 = sum r u y y':

    M_m = S2_m - s1_m s1_m' / s3_m;   D = argmin sum_m log( d_m' M_m d_m );   v_m = d_m' s1_m
    mu = D (v_m / s3_m)_m;   A_m = d_m' M_m d_m / s0;   nu_m: (s4 - s3) / s0 - digamma(nu / 2) + log(nu / 2) + 1 = 0

The search for D begins at the axes of the E-step, which travel with the sums (times the voxels, so that they add up);
without the logarithm it would not raise the likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import digamma, gammaln

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.models.mixtures import rotation
from normfed_common.models.mixtures.classes import (
    TINY,
    Classes,
    Moments,
    check_common,
    check_moments,
    products,
    scatter,
)
from normfed_common.models.mixtures.gaussian import Gaussian

FREEDOM = (0.1, 200.0)  # the least and the most degrees of freedom; beyond 200 it is a Gaussian
MOST_WEIGHT = (FREEDOM[0] + 1) / FREEDOM[0]  # u of a voxel at the mean
START = 10.0  # degrees of freedom
HALVINGS = 60  # of an interval of log nu, down to float64's precision


@dataclass(frozen=True)
class MultipleScaleT(Classes):
    """See the module; ``freedom`` is nu, (K, M)."""

    freedom: np.ndarray

    @classmethod
    def start(cls, sums: Mapping[str, np.ndarray], count: float, moments: Moments) -> Self:
        """Where Gaussian classes begin."""
        like = Gaussian.start(sums, count, moments)
        return cls(like.weights, like.means, like.axes, like.scales, np.full(like.scales.shape, START))

    @classmethod
    def of(cls, sums: Mapping[str, np.ndarray], count: float, moments: Moments) -> Self:
        """See the module."""
        share, weight = np.maximum(sums["responsibility"], TINY), np.maximum(sums["weight"], TINY)
        scatters = scatter(weight, sums["first"], sums["second"]) / share[:, None, None, None]
        axes = rotation.improved(rotation.nearest(sums["axes"] / count), scatters, moments.floor)
        centres = np.einsum("kjm,kmj->km", axes, sums["first"]) / weight
        scales = np.einsum("kim,kmij,kjm->km", axes, scatters, axes)
        freedom = freedom_of((sums["log_weight"] - sums["weight"]) / share[:, None])
        means = np.einsum("kjm,km->kj", axes, centres)
        return cls(share / count, means, axes, np.maximum(scales, moments.floor), freedom)

    @classmethod
    def check(cls, sums: Arrays, count: float, classes: int, value_range: tuple[float, float]) -> None:
        """Moments along every axis are those of values in the range, weights those of some degrees of freedom."""
        size = sums["first"].shape[-1:] if "first" in sums else ()
        shapes = {
            "responsibility": (),
            "weight": size,
            "log_weight": size,
            "first": size * 2,
            "second": size * 3,
            "axes": size * 2,
        }
        check_shapes(sums, {name: (classes, *shape) for name, shape in shapes.items()})
        check_common(sums, count)
        share, weight = sums["responsibility"][:, None], sums["weight"]
        slack = SUMS_ROUNDING * (share + weight)
        if (weight > MOST_WEIGHT * share + slack).any():
            raise WireError("weights are larger than any degrees of freedom make them")
        # E log W <= log E W at every voxel, and the logarithm is concave
        most = share * np.log(np.maximum(weight, TINY) / np.maximum(share, TINY))
        if (sums["log_weight"] > most + slack).any():
            raise WireError("weights and their logarithms contradict each other")
        if (np.linalg.norm(sums["axes"], axis=1) > count * (1 + SUMS_ROUNDING)).any():
            raise WireError("axes are longer than 1")
        check_moments(weight, sums["first"], sums["second"], value_range)

    @staticmethod
    def parameters(classes: int, modalities: int) -> int:
        """K (1 + M (M + 5) / 2) - 1."""
        return classes * (1 + modalities * (modalities + 5) // 2) - 1

    def sums(self, y: np.ndarray) -> Arrays:
        """``weight`` = s3 and ``log_weight`` = s4, (K, M), ``first`` = s1, (K, M, M), ``second`` = S2, (K, M, M, M).

        Besides ``axes``, (K, M, M): D times the voxels.
        """
        size, voxels = y.shape
        squares = self.squares(y)
        logs = np.log1p(squares / self.freedom[..., None])
        shares, log_density = self.shares(self._log_classes(logs))
        share = shares.sum(1)
        weighted = self.weights_of(squares)
        weighted *= shares[:, None]
        flat = weighted.reshape(len(self.weights) * size, voxels)
        constant = digamma((self.freedom + 1) / 2) - np.log(self.freedom / 2)
        return {
            "likelihood": np.asarray(log_density.sum()),
            "responsibility": share,
            "weight": weighted.sum(2),
            "log_weight": share[:, None] * constant - np.einsum("kn,kmn->km", shares, logs),
            "first": (flat @ y.T).reshape(-1, size, size),
            "second": (flat @ products(y).T).reshape(-1, size, size, size),
            "axes": voxels * self.axes,
        }

    def log_classes(self, squares: np.ndarray) -> np.ndarray:
        """See the module."""
        return self._log_classes(np.log1p(squares / self.freedom[..., None]))

    def weights_of(self, squares: np.ndarray) -> np.ndarray:
        """u = (nu + 1) / (nu + q)."""
        freedom = self.freedom[..., None]
        found: np.ndarray = (freedom + 1) / (freedom + squares)
        return found

    def _log_classes(self, logs: np.ndarray) -> np.ndarray:
        """log p_k, of log(1 + q / nu)."""
        half = (self.freedom + 1) / 2
        constant = gammaln(half) - gammaln(self.freedom / 2) - 0.5 * np.log(np.pi * self.scales * self.freedom)
        return constant.sum(1)[:, None] - np.einsum("km,kmn->kn", half, logs)


def freedom_of(difference: np.ndarray) -> np.ndarray:
    """The root nu of  difference - digamma(nu / 2) + log(nu / 2) + 1 = 0, whose left side falls with nu.

    Where the root is beyond `FREEDOM`, the end next to it: the likelihood has one maximum.

    Parameters
    ----------
    difference
        (s4 - s3) / s0, of any shape.
    """
    low, high = (np.full(difference.shape, np.log(end)) for end in FREEDOM)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        half = np.exp(middle) / 2
        above = difference - digamma(half) + np.log(half) + 1 > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found: np.ndarray = np.exp((low + high) / 2)
    return found
