"""Histograms of voxels that leave with noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mixing import RANGE, voxels
from scipy.optimize import minimize
from synthetic import People

from normfed_common.foundation.errors import WireError
from normfed_common.models.mixtures.histogram import HISTOGRAM, VoxelHistogram, _denoised, _projected
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released


def of(y: np.ndarray) -> VoxelHistogram:
    return VoxelHistogram(len(y), RANGE, lambda _: y)


def sums(y: np.ndarray, multiplier: float = 0.0, people: int = 30) -> dict[str, np.ndarray]:
    found = of(y).repaired(
        released(of(y), People(people), np.random.default_rng, SecretNoise(bytes(32)), multiplier), multiplier
    )
    of(y).check(found)
    return found


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_persons_histogram_is_numpys(size: int) -> None:
    y = voxels(4, size)
    bins = round(of(y).shapes()[HISTOGRAM][0] ** (1 / size))
    expected = np.histogramdd(y.T, bins, [RANGE] * size)[0].ravel()
    found = of(y).contribution(People(1), np.random.default_rng(0))[HISTOGRAM]
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=1e-12)


@given(arrays(np.float64, 6, elements=st.floats(-3, 3)))
def test_the_projection_is_the_nearest_distribution(values: np.ndarray) -> None:
    found = _projected(values)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    best = minimize(
        lambda p: ((p - values) ** 2).sum(),
        np.full(6, 1 / 6),
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        method="SLSQP",
    )
    assert ((found - values) ** 2).sum() <= best.fun + 1e-6


@pytest.mark.parametrize("size", [1, 2])
def test_voxels_drawn_from_a_histogram_have_the_moments_of_those_in_it(size: int) -> None:
    y = voxels(1, size, count=50_000)
    drawn = of(y).drawn(sums(y), np.random.default_rng(0))
    width = (RANGE[1] - RANGE[0]) / 32
    np.testing.assert_allclose(drawn.mean(1), y.mean(1), atol=width / 3)
    np.testing.assert_allclose(np.cov(drawn), np.cov(y), atol=width**2 + 0.003)


def test_noise_of_a_release_is_little_beside_a_histogram_of_thirty_people() -> None:
    y = voxels(1, 1, count=50_000)
    plain, noisy = sums(y)[HISTOGRAM] / 30, sums(y, 1.08)[HISTOGRAM] / 30
    assert np.abs(np.cumsum(plain - noisy)).max() < 0.1


def test_histograms_of_nobody_and_such_as_do_not_add_up_are_refused() -> None:
    y = voxels(1, 1)
    good = sums(y)
    for bad in ({"count": np.asarray(40.0)}, {HISTOGRAM: good[HISTOGRAM] - 1.0}):
        with pytest.raises(WireError, match="add up"):
            of(y).check(good | bad)
    with pytest.raises(WireError, match="no people"):
        of(y).repaired(good | {"people": np.asarray(0.0)}, 1.0)


def test_without_noise_nothing_is_smoothed_and_with_it_a_histogram_comes_nearer_to_the_truth() -> None:
    """Nearer than by projection alone, and by no lucky seed."""
    y = voxels(1, 1, count=50_000)
    truth = np.histogram(y, of(y).shapes()[HISTOGRAM][0], RANGE)[0] / y.size
    np.testing.assert_allclose(sums(y)[HISTOGRAM] / 30, truth, atol=1e-12)
    better = 0
    for seed in range(10):
        noise = 0.01
        noisy = truth + noise * np.random.default_rng(seed).standard_normal(truth.shape)
        found = _projected(_denoised(noisy, noise))
        better += ((found - truth) ** 2).sum() < ((_projected(noisy) - truth) ** 2).sum()
    assert better >= 9


def test_bins_that_hold_nothing_but_noise_become_empty() -> None:
    noise = np.random.default_rng(0).standard_normal(64)
    found = _denoised(0.01 * noise + np.where(np.arange(64) < 20, 0.05, 0.0), 0.01)
    assert (found[30:] == 0).mean() > 0.8  # of noise alone half is above 0
    assert (found[2:18] > 0.02).all()
