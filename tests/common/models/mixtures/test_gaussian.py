"""Gaussian classes against scikit-learn and SciPy."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from mixing import beginning, rounds, voxels
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from normfed_common.models.mixtures import selection
from normfed_common.models.mixtures.gaussian import Gaussian

TURNS = 30


def covariances(classes: Gaussian) -> np.ndarray:
    return np.einsum("kim,km,kjm->kij", classes.axes, classes.scales, classes.axes)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_it_takes_the_steps_that_scikit_learn_takes(size: int) -> None:
    y, classes = voxels(0, size), 4
    *_, (found, likelihood) = islice(rounds(Gaussian, [y], classes, floor=1e-12), TURNS)
    assert isinstance(found, Gaussian)
    begun = beginning(Gaussian, [y], classes, floor=1e-12)
    assert isinstance(begun, Gaussian)
    oracle = GaussianMixture(
        classes,
        weights_init=begun.weights,
        means_init=begun.means,
        precisions_init=np.linalg.inv(covariances(begun)),
        tol=0,
        reg_covar=0,
        max_iter=TURNS,
    )
    with pytest.warns(ConvergenceWarning):
        oracle.fit(y.T)
    np.testing.assert_allclose(found.weights, oracle.weights_, rtol=1e-6)
    np.testing.assert_allclose(found.means, oracle.means_, rtol=1e-6)
    np.testing.assert_allclose(covariances(found), oracle.covariances_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.log_density(y), oracle.score_samples(y.T), rtol=1e-6, atol=1e-6)
    assert likelihood == pytest.approx(oracle.lower_bound_, rel=1e-9)
    total = float(found.log_density(y).sum())
    fit = selection.Fit(classes, total, Gaussian.parameters(classes, size))
    assert selection.bic(fit, y.shape[1]) == pytest.approx(oracle.bic(y.T), rel=1e-9)


def test_one_class_has_the_density_of_scipy() -> None:
    y = voxels(1, 3)
    (found, _), *_ = islice(rounds(Gaussian, [y], 1), 1)
    expected = multivariate_normal(y.mean(1), np.cov(y, bias=True)).logpdf(y.T)
    np.testing.assert_allclose(found.log_density(y), expected, rtol=1e-9)


def test_proximity_is_the_reciprocal_of_the_least_squared_distance_along_an_axis() -> None:
    """Of one class, along the principal axes of the voxels."""
    y = voxels(2, 3)
    (found, _), *_ = islice(rounds(Gaussian, [y], 1), 1)
    values, axes = np.linalg.eigh(np.cov(y, bias=True))
    along = axes.T @ (y - y.mean(1, keepdims=True))
    np.testing.assert_allclose(found.proximity(y), (values[:, None] / along**2).max(0), rtol=1e-6)


def test_the_published_number_of_parameters() -> None:
    """139 of 14 classes of three modalities (Oudoumanessah et al. 2023)."""
    assert Gaussian.parameters(14, 3) == 139
