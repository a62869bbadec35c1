"""Draws of the discrete Gaussian, against its probabilities added up term by term."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from normfed_common.privacy.discrete import MOST_BITS, discrete_gaussian
from normfed_common.privacy.noise import SecretNoise

KEY = bytes(range(32))
LEAST_P = 1e-4  # the draws are fixed by the key: a test that passed once passes always


def probabilities(sigma: float, reach: int) -> np.ndarray:
    """Of -reach to reach."""
    weights = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


@pytest.mark.parametrize("bits", [0, 1, 2, 4])
def test_every_integer_is_as_likely_as_the_discrete_gaussian_says(bits: int) -> None:
    count, reach = 100_000, 12 << bits
    drawn = discrete_gaussian(SecretNoise(KEY), count, bits)
    found = np.bincount(drawn + reach, minlength=2 * reach + 1)
    expected = count * probabilities(2**bits, reach)
    often = expected > 5
    observed = np.append(found[often], found[~often].sum())
    assert stats.chisquare(observed, np.append(expected[often], expected[~often].sum())).pvalue > LEAST_P


def test_with_a_large_sigma_draws_are_normal_by_kolmogorov_and_smirnov() -> None:
    drawn = discrete_gaussian(SecretNoise(KEY), 100_000, 20) / 2**20
    assert stats.kstest(drawn, "norm").pvalue > LEAST_P
    for level in (2.0, 3.0, 4.0):
        beyond = int((np.abs(drawn) > level).sum())
        assert stats.binomtest(beyond, len(drawn), 2 * stats.norm.sf(level)).pvalue > LEAST_P


def test_neighbours_are_uncorrelated_and_another_key_draws_another_vector() -> None:
    drawn = discrete_gaussian(SecretNoise(KEY), 50_000, 20)
    other = discrete_gaussian(SecretNoise(bytes(32)), 50_000, 20)
    for one, two in ((drawn[:-1], drawn[1:]), (np.abs(drawn[:-1]), np.abs(drawn[1:])), (drawn, other)):
        assert stats.pearsonr(one, two).pvalue > LEAST_P


def test_the_same_key_draws_the_same_and_nothing_is_drawn_of_nothing() -> None:
    one, same = (discrete_gaussian(SecretNoise(KEY), 100, 20) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert discrete_gaussian(SecretNoise(KEY), 0, 20).shape == (0,)


@pytest.mark.parametrize("bits", [-1, MOST_BITS + 1])
def test_a_sigma_whose_squares_would_not_fit_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=r"sigma is 2\^"):
        discrete_gaussian(SecretNoise(KEY), 1, bits)
