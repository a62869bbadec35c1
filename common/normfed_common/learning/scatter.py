"""Sums of products of vectors, as they travel, and whether any vectors can have them.

sum x x' over vectors of d numbers is symmetric, so that its upper triangle is sent, d (d + 1) / 2 numbers row by row.
Whatever the vectors, it is positive semidefinite, and so is their scatter, sum x x' - sum x sum x' / n. Rounding alone
may leave the scatter an eigenvalue below 0, by a share of the products that cancel in it.
"""

from __future__ import annotations

import numpy as np

from normfed_common.foundation.errors import WireError

ROUNDING = 1e-9  # that share of the trace of the products: a float64 sum of 10^9 terms is known to a tenth of it


def triangle(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries of a matrix (size, size) that are sent, (size (size + 1) / 2,) each."""
    rows, columns = np.triu_indices(size)
    return rows, columns


def symmetric(triangles: np.ndarray, size: int) -> np.ndarray:
    """Matrices (..., size, size) of upper triangles (..., size (size + 1) / 2)."""
    rows, columns = triangle(size)
    found = np.empty((*triangles.shape[:-1], size, size))
    found[..., rows, columns] = found[..., columns, rows] = triangles
    return found


def check_semidefinite(matrices: np.ndarray, traces: np.ndarray | float) -> None:
    """Whether symmetric matrices (..., d, d) are positive semidefinite, up to rounding.

    Parameters
    ----------
    traces
        (...), of the products that cancelled in each matrix, or of the matrix itself where none did.

    Raises
    ------
    WireError
        If one is not.
    """
    room = ROUNDING * np.asarray(traces, np.float64) + np.finfo(np.float64).tiny  # so that a matrix of 0 passes
    try:
        roots = np.linalg.cholesky(matrices + room[..., None, None] * np.eye(matrices.shape[-1]))
    except np.linalg.LinAlgError as error:
        raise WireError("sums and products contradict each other") from error
    if not np.isfinite(roots).all():
        raise WireError("sums and products are too large")
