"""Triangles of products, and which matrices vectors can have."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.foundation.errors import WireError
from normfed_common.learning.scatter import check_semidefinite, symmetric, triangle


def products(vectors: np.ndarray) -> np.ndarray:
    """sum x x' of (n, d), written out."""
    return sum((np.outer(x, x) for x in vectors), np.zeros((vectors.shape[1],) * 2))


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_a_triangle_makes_the_matrix_it_is_of(shape: tuple[int, ...]) -> None:
    drawn = np.random.default_rng(0).standard_normal((*shape, 5, 5))
    matrices = drawn + drawn.mT
    rows, columns = triangle(5)
    assert (rows <= columns).all()
    np.testing.assert_array_equal(symmetric(matrices[..., rows, columns], 5), matrices)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("people", [1, 2, 50])
def test_the_scatter_of_vectors_passes_even_where_their_mean_cancels_all_but_rounding(mean: float, people: int) -> None:
    vectors = mean + np.random.default_rng(1).standard_normal((people, 4))
    second = products(vectors)
    first = vectors.sum(0)
    check_semidefinite(second - np.outer(first, first) / people, np.trace(second))


def test_a_matrix_of_nobody_passes() -> None:
    check_semidefinite(np.zeros((2, 3, 3)), np.zeros(2))


@pytest.mark.parametrize("unit", [1e-100, 1.0, 1e100])
def test_one_matrix_that_no_vectors_have_is_refused_in_any_unit(unit: float) -> None:
    honest = products(np.random.default_rng(2).standard_normal((9, 3)))
    lie = honest - 1.001 * np.linalg.eigvalsh(honest)[0] * np.eye(3)
    check_semidefinite(unit * np.stack([honest, honest]), unit * np.trace(honest))
    with pytest.raises(WireError, match="contradict"):
        check_semidefinite(unit * np.stack([honest, lie]), unit * np.trace(honest))


def test_an_eigenvalue_below_0_by_a_millionth_of_the_products_is_no_rounding() -> None:
    with pytest.raises(WireError, match="contradict"):
        check_semidefinite(np.diag([1.0, -1e-6]), 1.0)


@pytest.mark.parametrize("entry", [np.inf, np.nan])
def test_what_is_not_finite_is_refused(entry: float) -> None:
    with pytest.raises(WireError):
        check_semidefinite(np.diag([1.0, entry]), 1.0)
