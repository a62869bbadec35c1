"""Slopes from sums of products, against NumPy's least squares on the people themselves."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.foundation.errors import WireError
from normfed_common.learning.scatter import triangle
from normfed_common.models.voxelwise.regression import Products, check_products, slopes

VOXELS = 5


def drawn(people: int, p: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Covariates (n, p), which depend on each other, and values (n, V), which depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((people, p)) @ (np.eye(p) + 0.4) + 0.3
    return x, 0.7 + x @ rng.standard_normal((p, VOXELS)) + 0.2 * rng.standard_normal((people, VOXELS))


def summed(x: np.ndarray, y: np.ndarray) -> Products:
    rows, others = triangle(x.shape[1])
    everywhere = np.ones(y.shape[1])
    of_x, xx = x.sum(0)[:, None] * everywhere, (x.T @ x)[rows, others][:, None] * everywhere
    return Products(len(x) * everywhere, y.sum(0), (y**2).sum(0), of_x, xx, x.T @ y)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("ridge", [1e-9, 0.5, 20.0])
def test_slopes_are_those_of_least_squares_with_a_penalty_on_the_slopes_alone(p: int, ridge: float) -> None:
    x, y = drawn(12, p)
    found = slopes(summed(x, y), ridge)
    design = np.column_stack([np.ones(len(x)), x])
    penalty = np.column_stack([np.zeros(p), np.sqrt(ridge) * np.eye(p)])
    given, wanted = np.concatenate([design, penalty]), np.concatenate([y, np.zeros((p, VOXELS))])
    expected = np.linalg.lstsq(given, wanted, rcond=None)[0]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1:], rtol=1e-6)
    np.testing.assert_allclose(found[2], ((y - design @ expected) ** 2).mean(0), rtol=1e-6)


def test_a_strong_penalty_leaves_the_plain_mean_and_variance() -> None:
    x, y = drawn(9, 2)
    mean, b, variance = slopes(summed(x, y), 1e12)
    np.testing.assert_allclose(mean, y.mean(0), rtol=1e-9)
    np.testing.assert_allclose(b, 0, atol=1e-9)
    np.testing.assert_allclose(variance, y.var(0), rtol=1e-9)


def test_people_who_are_alike_are_predicted_by_their_mean() -> None:
    _, y = drawn(4, 1)
    mean, b, variance = slopes(summed(np.zeros((4, 2)), y), 5.0)
    np.testing.assert_allclose(mean, y.mean(0))
    assert not b.any()
    np.testing.assert_allclose(variance, y.var(0))


@pytest.mark.parametrize("people", [1, 2, 30])
def test_sums_of_people_are_taken_and_so_are_means_over_voxels(people: int) -> None:
    sums = summed(*drawn(people, 2))
    check_products(sums)
    check_products(Products(*(array.mean(-1, keepdims=True) for array in sums)))
    check_products(Products(*(np.zeros_like(array) for array in sums)))


@pytest.mark.parametrize("name", ["n", "y", "yy", "x", "xx", "xy"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_one_voxel_of_products_that_contradict_each_other_is_refused_in_any_unit(name: str, scale: float) -> None:
    x, y = drawn(6, 2)
    sums = summed(x, scale * y)
    wrong = getattr(sums, name).copy()
    wrong[..., 3] = 0.01 * wrong[..., 3] if name in ("n", "yy", "xx") else 30 * wrong[..., 3]
    with pytest.raises(WireError):
        check_products(sums._replace(**{name: wrong}))


def test_products_of_what_nobody_has_are_refused() -> None:
    x, y = drawn(6, 1)
    sums = summed(0 * x, y)
    with pytest.raises(WireError, match="of what nobody has"):
        check_products(sums._replace(xy=np.full((1, VOXELS), 1e-3)))
