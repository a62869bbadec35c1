"""Least squares at every voxel, from sums over people: y = b0 + b' x + e, with x a person's standardised covariates.

    b = (S_xx + k I)^-1 S_xy,   b0 = mean y - b' mean x,   var e = (S_yy - 2 b' S_xy + b' S_xx b) / n

S are sums of products about the voxel's own means, and the penalty k (ridge; Hoerl, Kennard 1970) leaves b0 alone, so
that few people, or people who are alike, are predicted by their plain mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from normfed_common.foundation.errors import WireError
from normfed_common.learning.scatter import check_semidefinite, symmetric

VOXELS_AT_ONCE = 1 << 16


class Products(NamedTuple):
    """Sums over people of the products of (1, x, y), of one modality at V voxels.

    Parameters
    ----------
    n, y, yy
        People, sum y, sum y^2, of shape (V,).
    x, xy
        Of shape (p, V).
    xx
        Of x x', its upper triangle: (p (p + 1) / 2, V).
    """

    n: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    xy: np.ndarray

    def at(self, voxels: np.ndarray | slice) -> Products:
        """Those of some voxels."""
        return Products(*(array[..., voxels] for array in self))

    def matrices(self) -> np.ndarray:
        """(V, p + 2, p + 2), symmetric."""
        x, xy = self.x.T[..., None], self.xy.T[..., None]
        n, y, yy = (one[:, None, None] for one in (self.n, self.y, self.yy))
        rows = [[n, x.mT, y], [x, symmetric(self.xx.T, len(self.x)), xy], [y, xy.mT, yy]]
        return np.concatenate([np.concatenate(row, 2) for row in rows], 1)


def slopes(sums: Products, ridge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit one modality at voxels that somebody has.

    Parameters
    ----------
    ridge
        k, above 0, in people.

    Returns
    -------
    b0 of shape (V,), which is the mean at x = 0; b of shape (p, V); var e, (V,).

    Raises
    ------
    WireError
        If nothing can be fitted to such sums.
    """
    mean, mean_x = sums.y / sums.n, sums.x / sums.n
    s_xy = sums.xy - sums.x * mean
    s_xx = symmetric(sums.xx.T, len(sums.x)) - sums.x.T[:, :, None] * mean_x.T[:, None]
    try:
        solved = np.linalg.solve(s_xx + ridge * np.eye(len(sums.x)), s_xy.T[..., None])
    except np.linalg.LinAlgError as error:
        raise WireError("products of covariates make no slopes") from error
    b: np.ndarray = solved[..., 0].T
    left = sums.yy - sums.y * mean - 2 * (b * s_xy).sum(0) + np.einsum("iv,vij,jv->v", b, s_xx, b)
    return mean - (b * mean_x).sum(0), b, np.maximum(left, 0) / sums.n


def check_products(sums: Products) -> None:
    """Whether people can have these sums: their matrices are positive semidefinite, as their means over cubes are.

    Raises
    ------
    WireError
        If not.
    """
    for start in range(0, len(sums.n), VOXELS_AT_ONCE):
        _check_semidefinite(sums.at(slice(start, start + VOXELS_AT_ONCE)).matrices())


def _check_semidefinite(products: np.ndarray) -> None:
    """Scaled to a unit diagonal, so that no entry's unit hides another's fault; products of shape (V, m, m)."""
    diagonal = np.diagonal(products, axis1=1, axis2=2)
    if (diagonal < 0).any():
        raise WireError("squares are below 0")
    roots = np.sqrt(diagonal)
    units = np.where(roots > 0, roots, 1)
    scaled = products / units[:, :, None] / units[:, None, :]
    if products[roots == 0].any():
        raise WireError("there are products of what nobody has")
    check_semidefinite(scaled, roots.shape[1])
