"""Where classes start, against scikit-learn's K means and known quantiles."""

from __future__ import annotations

import numpy as np
from mixing import moments_of, voxels
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from normfed_common.foundation.arrays import add
from normfed_common.models.mixtures import start


def test_means_begin_at_evenly_spread_quantiles() -> None:
    """Van der Corput's sequence in one dimension: 1/2, 1/4, 3/4, 1/8, ..."""
    y = np.random.default_rng(0).standard_normal((1, 200_000))
    found = start.first_means(moments_of(y), 4)
    np.testing.assert_allclose(found[:, 0], np.quantile(y, [1 / 2, 1 / 4, 3 / 4, 1 / 8]), atol=0.02)


def test_sites_take_the_steps_of_k_means() -> None:
    y, turns = voxels(0, size=3, count=3000), 6
    moments = moments_of(y)
    first = means = start.first_means(moments, 5)
    for _ in range(turns):
        total = add(start.nearest(means, part) for part in np.array_split(y, 3, axis=1))
        means = start.next_means(total, moments)
    oracle = KMeans(5, init=first, n_init=1, max_iter=turns, tol=0, algorithm="lloyd").fit(y.T)
    np.testing.assert_allclose(means, oracle.cluster_centers_, rtol=1e-9)


def test_the_spread_is_the_sum_of_squares_around_the_means_of_the_nearest_voxels() -> None:
    y = voxels(1)
    means = start.first_means(moments_of(y), 4)
    which = cdist(y.T, means).argmin(1)
    expected = sum(((y.T[which == k] - y.T[which == k].mean(0)) ** 2).sum() for k in range(4))
    np.testing.assert_allclose(start.spread(start.nearest(means, y)), expected, rtol=1e-9)


def test_a_mean_that_is_nearest_to_no_voxel_begins_again() -> None:
    y = voxels(2)
    moments = moments_of(y)
    sums = start.nearest(np.array([[1.0, 1.0], [1e6, 1e6]]), y)
    found = start.next_means(sums, moments)
    np.testing.assert_allclose(found[0], y.mean(1))
    np.testing.assert_array_equal(found[1], start.first_means(moments, 2)[1])
