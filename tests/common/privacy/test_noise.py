from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from normfed_common.foundation import seeds
from normfed_common.privacy.noise import AT_ONCE, SecretNoise

KEY = bytes(range(32))
OTHER = bytes(31) + b"\1"
LEAST_P = 1e-4  # the draws are fixed by the key: a test that passed once passes always


def test_gaussian_numbers_are_normal_by_kolmogorov_and_smirnov() -> None:
    drawn = SecretNoise(KEY).gaussian(200_000, 3.0)
    assert stats.kstest(drawn, "norm", args=(0, 3.0)).pvalue > LEAST_P


def test_gaussian_numbers_have_the_tails_of_the_normal_distribution() -> None:
    drawn = np.abs(SecretNoise(KEY).gaussian(1_000_000, 1.0))
    for level in (2.0, 3.0, 4.0):
        beyond = int((drawn > level).sum())
        assert stats.binomtest(beyond, len(drawn), 2 * stats.norm.sf(level)).pvalue > LEAST_P


def test_the_two_of_a_pair_and_neighbours_are_uncorrelated() -> None:
    drawn = SecretNoise(KEY).gaussian(2 * AT_ONCE, 1.0)
    first, second = drawn[:AT_ONCE], drawn[AT_ONCE:]
    for one, other in ((first, second), (np.abs(first), np.abs(second)), (drawn[:-1], drawn[1:])):
        assert stats.pearsonr(one, other).pvalue > LEAST_P


def test_uniform_numbers_are_uniform_in_0_to_1() -> None:
    drawn = SecretNoise(KEY).uniform(200_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > LEAST_P


def test_every_order_of_four_is_as_likely() -> None:
    noise = SecretNoise(KEY)
    orders = [tuple(noise.permutation(4)) for _ in range(4800)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == math.factorial(4)
    assert stats.chisquare(counts).pvalue > LEAST_P


@given(st.integers(0, 200))
def test_a_permutation_has_each_number_once(count: int) -> None:
    assert sorted(SecretNoise(KEY).permutation(count)) == list(range(count))


@pytest.mark.parametrize("shape", [0, 1, 7, (3, 5), (2 * AT_ONCE + 3,), ()])
def test_gaussian_numbers_come_in_any_shape(shape: int | tuple[int, ...]) -> None:
    drawn = SecretNoise(KEY).gaussian(shape, 1.0)
    assert drawn.shape == np.empty(shape).shape
    assert len(np.unique(drawn)) == drawn.size


def test_the_keystream_is_that_of_rfc_8439() -> None:
    """An AEAD of the same key and nonce encrypts from the keystream's second block on."""
    sealed = ChaCha20Poly1305(KEY).encrypt(bytes(12), bytes(64), None)[:64]
    expected = (np.frombuffer(sealed, "<u8") >> np.uint64(11)) / 2**53
    np.testing.assert_array_equal(SecretNoise(KEY).uniform(16)[8:], expected)


def test_the_same_key_draws_the_same_and_another_something_else() -> None:
    one, same, other = (SecretNoise(key).gaussian(100, 1.0) for key in (KEY, KEY, OTHER))
    np.testing.assert_array_equal(one, same)
    assert not (one == other).any()


def test_every_draw_is_another() -> None:
    noise = SecretNoise(KEY)
    draws = np.concatenate([noise.uniform(100) for _ in range(50)])
    assert len(np.unique(draws)) == len(draws)


def test_a_study_s_seed_changes_nothing() -> None:
    drawn = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002  (the global generator is what must not matter)
        seeds.generator(seed, "noise").random(10)
        drawn.append(SecretNoise(KEY).gaussian(10, 1.0))
    np.testing.assert_array_equal(*drawn)


def test_noised_values_are_the_values_and_the_gaussian_numbers_on_a_grid() -> None:
    values = np.linspace(-1, 1, 1001)
    noised, noise = SecretNoise(KEY).noised(values, 0.7), SecretNoise(KEY).gaussian(1001, 0.7)
    step = 2.0**-25  # the power of two at or below 0.7, and 24 binary digits more
    np.testing.assert_array_equal(noised / step, np.rint(noised / step))
    np.testing.assert_allclose(noised, values + noise, rtol=0, atol=step / 2 * 1.001)


@given(st.floats(-3, 3), st.floats(1e-6, 1e6))
def test_the_last_digits_of_noised_values_are_the_same_whatever_the_value(value: float, scale: float) -> None:
    noised = SecretNoise(KEY).noised(np.full(20, value * scale), scale)
    mantissa, exponent = np.frexp(scale)
    step = 2.0 ** (int(exponent) - 1 - 24)
    assert 0.5 <= mantissa < 1
    np.testing.assert_array_equal(np.remainder(noised, step), 0)


def test_without_a_scale_values_stay_as_they_are() -> None:
    values = np.array([0.1, np.pi, -7e-30])
    np.testing.assert_array_equal(SecretNoise(KEY).noised(values, 0.0), values)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="the key of a noise has 5 bytes; it must have 32"):
        SecretNoise(b"short")
