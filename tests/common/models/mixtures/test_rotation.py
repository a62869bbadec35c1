"""The search for axes against brute force and matrices whose axes are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import polar
from scipy.stats import ortho_group

from normfed_common.models.mixtures import rotation

FLOOR = 1e-3


def random_variances(rng: np.random.Generator, classes: int, size: int) -> np.ndarray:
    """(K, M, M, M): one positive definite matrix per class and axis."""
    halves = rng.standard_normal((classes, size, size, size))
    return 0.1 * halves @ np.swapaxes(halves, -1, -2)


def objective(axes: np.ndarray, variances: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """(K,), one class and one axis at a time."""
    found = np.zeros(len(axes))
    for k in range(len(axes)):
        for m in range(axes.shape[1]):
            x = axes[k, :, m] @ variances[k, m] @ axes[k, :, m]
            found[k] += np.log(x) if x > floor else np.log(floor) + x / floor - 1
    return found


def turned(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("floor", [1e-9, FLOOR, 0.3])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_sum_never_rises(size: int, floor: float) -> None:
    rng = np.random.default_rng(size)
    variances = random_variances(rng, 40, size)
    axes = np.stack([ortho_group.rvs(size, random_state=rng) if size > 1 else np.eye(1) for _ in range(40)])
    found = rotation.improved(axes, variances, floor)
    assert (objective(found, variances, floor) <= objective(axes, variances, floor) + 1e-12).all()
    np.testing.assert_allclose(np.swapaxes(found, 1, 2) @ found, np.stack([np.eye(size)] * 40), atol=1e-13)


def test_in_the_plane_no_angle_is_better() -> None:
    variances = random_variances(np.random.default_rng(0), 20, 2)
    found = objective(rotation.improved(np.stack([np.eye(2)] * 20), variances, FLOOR), variances)
    for k in range(20):
        one = variances[[k]]
        best = min(objective(turned(angle)[None], one)[0] for angle in np.linspace(0, np.pi, 2000))
        assert found[k] <= best


def test_matrices_of_common_axes_are_made_diagonal() -> None:
    rng = np.random.default_rng(1)
    true = ortho_group.rvs(3, random_state=rng)
    scales = np.array([[0.1, 1, 2], [1, 0.2, 2], [2, 1, 0.3]])
    variances = np.einsum("im,am,jm->aij", true, scales, true)[None]
    found = rotation.improved(np.eye(3)[None], variances, FLOOR)[0]
    np.testing.assert_allclose(np.abs(true.T @ found), np.eye(3), atol=1e-6)


def test_the_nearest_orthogonal_matrix_is_the_polar_factor() -> None:
    matrices = np.random.default_rng(2).standard_normal((5, 3, 3))
    for found, matrix in zip(rotation.nearest(matrices), matrices, strict=True):
        np.testing.assert_allclose(found, polar(matrix)[0], atol=1e-12)
