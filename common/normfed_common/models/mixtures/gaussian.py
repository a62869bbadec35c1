"""Gaussian classes:  log p_k = -1/2 sum_m ( q_km + log(2 pi A_km) ),  Sigma_k = D_k diag(A_k) D_k'.

M-step:  pi = s0 / n,  mu = s1 / s0,  Sigma = S2 / s0 - mu mu',  with s0 = sum r, s1 = sum r y, S2 = sum r y y'. The
likeliest Sigma with no eigenvalue below a floor has the same axes, and what is below the floor raised to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.models.mixtures.classes import (
    TINY,
    Classes,
    Moments,
    check_common,
    check_moments,
    products,
    scatter,
)

LEAST_SQUARE = 1e-12  # q of a voxel at the mean itself, so that 1 / q is a number


@dataclass(frozen=True)
class Gaussian(Classes):
    """See the module."""

    @classmethod
    def start(cls, sums: Mapping[str, np.ndarray], count: float, moments: Moments) -> Self:
        """Of the moments of the voxels nearest to each mean."""
        return cls.of(sums, count, moments)

    @classmethod
    def of(cls, sums: Mapping[str, np.ndarray], count: float, moments: Moments) -> Self:
        """See the module."""
        share = np.maximum(sums["responsibility"], TINY)
        covariance = scatter(share, sums["first"], sums["second"]) / share[:, None, None]
        values, axes = np.linalg.eigh(covariance)
        return cls(share / count, sums["first"] / share[:, None], axes, np.maximum(values, moments.floor))

    @classmethod
    def check(cls, sums: Arrays, count: float, classes: int, value_range: tuple[float, float]) -> None:
        """Moments of every class are those of values in the range."""
        size = sums["first"].shape[-1:] if "first" in sums else ()
        shapes = {"responsibility": (), "first": size, "second": size * 2}
        check_shapes(sums, {name: (classes, *shape) for name, shape in shapes.items()})
        check_common(sums, count)
        check_moments(sums["responsibility"], sums["first"], sums["second"], value_range)

    @staticmethod
    def parameters(classes: int, modalities: int) -> int:
        """K (1 + M + M (M + 1) / 2) - 1."""
        return classes * (1 + modalities + modalities * (modalities + 1) // 2) - 1

    def sums(self, y: np.ndarray) -> Arrays:
        """``first`` = s1, (K, M), and ``second`` = S2, (K, M, M), besides."""
        shares, log_density = self.shares(self.log_classes(self.squares(y)))
        size = len(y)
        return {
            "likelihood": np.asarray(log_density.sum()),
            "responsibility": shares.sum(1),
            "first": shares @ y.T,
            "second": (shares @ products(y).T).reshape(-1, size, size),
        }

    def log_classes(self, squares: np.ndarray) -> np.ndarray:
        """See the module."""
        found: np.ndarray = -0.5 * (squares.sum(1) + np.log(2 * np.pi * self.scales).sum(1)[:, None])
        return found

    def weights_of(self, squares: np.ndarray) -> np.ndarray:
        """1 / q, the analogue of the weights that a multiple-scale t has."""
        found: np.ndarray = 1 / np.maximum(squares, LEAST_SQUARE)
        return found
