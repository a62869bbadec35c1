"""Mean and covariance of patches from sums over people, and the least that a linear auto-encoder leaves of them.

    S = sum x x' - sum x sum x' / n,    scale = sqrt(tr S / (n D)),    remainder = sum of all but the k greatest
    eigenvalues of S

No linear auto-encoder with k latents has a smaller sum of squared errors than the remainder, which principal components
reach (Eckart & Young 1936; Baldi & Hornik 1989, Neural Networks 2(1):53-58).

Only the server ever needs the D(D+1)/2 products: of the total, sites are sent n, sum x, tr S and the remainder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.scatter import check_semidefinite, symmetric, triangle
from normfed_common.learning.setting import SUMS_ROUNDING


@dataclass(frozen=True)
class PatchMoments:
    """What is known of all patches together: n, sum x of shape (D,), tr S and the remainder."""

    count: float
    first: np.ndarray
    spread: float
    remainder: float

    @property
    def mean(self) -> np.ndarray:
        """The mean patch, (D,)."""
        found: np.ndarray = self.first / self.count
        return found

    @property
    def scale(self) -> float:
        """One standard deviation of a pixel about the mean patch; 1 where all patches are the same."""
        return float(np.sqrt(self.spread / (self.count * len(self.first)))) or 1.0

    def arrays(self) -> Arrays:
        """As they are sent to sites."""
        return {
            "count": np.array(self.count),
            "sum": self.first,
            "spread": np.array(self.spread),
            "remainder": np.array(self.remainder),
        }

    @classmethod
    def of_total(cls, total: Arrays, components: int) -> PatchMoments:
        """Of sums that `check` let pass."""
        eigenvalues = np.maximum(np.linalg.eigvalsh(_scatter(total)), 0)
        rest = eigenvalues[: max(len(eigenvalues) - components, 0)]  # they ascend
        return cls(float(total["count"]), total["sum"], float(eigenvalues.sum()), float(rest.sum()))

    @classmethod
    def of_arrays(cls, arrays: Arrays, dimension: int, value_range: tuple[float, float]) -> PatchMoments:
        """What `arrays` made.

        Raises
        ------
        WireError
            If no patches have these moments.
        """
        check_shapes(arrays, {"count": (), "sum": (dimension,), "spread": (), "remainder": ()})
        _check_mean(arrays, value_range)
        spread, remainder = float(arrays["spread"]), float(arrays["remainder"])
        most = float(arrays["count"]) * dimension * max(map(abs, value_range)) ** 2 * (1 + SUMS_ROUNDING)
        if not 0 <= remainder <= spread * (1 + SUMS_ROUNDING) <= most * (1 + SUMS_ROUNDING):
            raise WireError("spread and remainder of patches are not those of any")
        return cls(float(arrays["count"]), arrays["sum"], spread, remainder)


def sums_of(patches: Iterable[np.ndarray], dimension: int) -> Arrays:
    """n, sum x of shape (D,), sum x x' as the upper triangle (D(D+1)/2,), over blocks of patches (n, C, p, p)."""
    count, first, second = 0, np.zeros(dimension), np.zeros((dimension, dimension))
    for block in patches:
        rows = block.reshape(len(block), dimension).astype(np.float64)
        count += len(rows)
        first += rows.sum(0)
        second += rows.T @ rows
    return {"count": np.array(float(count)), "sum": first, "products": second[triangle(dimension)]}


def check(sums: Arrays, dimension: int, value_range: tuple[float, float]) -> None:
    """Values lie in the study's range, and S is positive semidefinite.

    Raises
    ------
    WireError
        If no patches have these sums.
    """
    check_shapes(sums, {"count": (), "sum": (dimension,), "products": (dimension * (dimension + 1) // 2,)})
    _check_mean(sums, value_range)
    if not np.isfinite(sums["products"]).all():
        raise WireError("products of patches are not finite")
    squares = np.diag(symmetric(sums["products"], dimension))
    if (squares > sums["count"] * max(map(abs, value_range)) ** 2 * (1 + SUMS_ROUNDING)).any():
        raise WireError(f"squares are not of values between {value_range[0]:g} and {value_range[1]:g}")
    check_semidefinite(_scatter(sums), squares.sum())


def _check_mean(sums: Arrays, value_range: tuple[float, float]) -> None:
    count, first = float(sums["count"]), sums["sum"]
    if not 0 < count < np.inf:
        raise WireError("there are no patches")
    low, high = value_range
    slack = SUMS_ROUNDING * max(abs(low), abs(high)) * count
    if not ((first >= low * count - slack) & (first <= high * count + slack)).all():
        raise WireError(f"patches are not of values between {low:g} and {high:g}")


def _scatter(sums: Arrays) -> np.ndarray:
    first = sums["sum"]
    scatter: np.ndarray = symmetric(sums["products"], len(first)) - np.outer(first, first) / float(sums["count"])
    return scatter
