"""The discrete Gaussian, exactly: integers x with probability proportional to exp(-x^2 / (2 sigma^2)).

Nothing is computed in floating point: every number that decides is a uniform integer of the key's stream, compared with
an integer (Canonne, Kamath & Steinke 2020, arXiv 2004.00010, algorithms 1 to 3, on all entries of a vector together).
With sigma = t = 2^k every fraction in them has a power of two below.
"""

from __future__ import annotations

import numpy as np

from normfed_common.privacy.noise import SecretNoise

MOST_BITS = 24  # of sigma: squares of what is drawn stay within 63 bits up to 2^7 sigma, which nothing reaches
WORD = 2**16  # lots of one in k are drawn from so many numbers


def discrete_gaussian(noise: SecretNoise, count: int, bits: int) -> np.ndarray:
    """Independent integers with sigma = 2^bits, int64 (count,).

    Raises
    ------
    ValueError
        If there are more than `MOST_BITS`.
    """
    if not 0 <= bits <= MOST_BITS:
        raise ValueError(f"sigma is 2^{bits}; it must be 1 to 2^{MOST_BITS}")
    found = np.empty(count, np.int64)
    left = np.arange(count)
    while left.size:
        drawn = _discrete_laplace(noise, left.size, bits)
        kept = _exp_of_minus(noise, (np.abs(drawn) - (1 << bits)) ** 2, 2 * bits + 1)
        found[left[kept]] = drawn[kept]
        left = left[~kept]
    return found


def _discrete_laplace(noise: SecretNoise, count: int, bits: int) -> np.ndarray:
    """Integers with probability proportional to exp(-|x| / 2^bits): algorithm 2."""
    found = np.empty(count, np.int64)
    left = np.arange(count)
    while left.size:
        within = _uniform(noise, left.size, bits)
        whole = np.zeros(left.size, np.int64)
        going = np.arange(left.size)
        while going.size:
            going = going[_exp_of_minus(noise, np.ones(going.size, np.int64), 0)]
            whole[going] += 1
        size = within + (whole << bits)
        negative = _uniform(noise, left.size, 1).astype(bool)
        kept = _exp_of_minus(noise, within, bits) & ~(negative & (size == 0))
        found[left[kept]] = np.where(negative, -size, size)[kept]
        left = left[~kept]
    return found


def _exp_of_minus(noise: SecretNoise, above: np.ndarray, bits: int) -> np.ndarray:
    """Lots, bool (n,), true with probability exp(-above / 2^bits): algorithm 1.

    Parameters
    ----------
    above
        Not negative, int64 (n,).
    """
    whole, rest = above >> bits, above & ((1 << bits) - 1)
    found = np.ones(len(above), bool)
    while (asked := np.flatnonzero(found & (whole > 0))).size:
        found[asked] = _exp_of_at_most_1(noise, np.full(asked.size, 1 << bits), bits)
        whole[asked] -= 1
    asked = np.flatnonzero(found)
    found[asked] = _exp_of_at_most_1(noise, rest[asked], bits)
    return found


def _exp_of_at_most_1(noise: SecretNoise, above: np.ndarray, bits: int) -> np.ndarray:
    """The same, of fractions up to 1: how many lots of chance fraction / k succeed, k = 1, 2, ..., is even."""
    found = np.empty(len(above), bool)
    going, k = np.arange(len(above)), 1
    while going.size:
        success = (_uniform(noise, going.size, bits) < above[going]) & _one_in(noise, going.size, k)
        found[going[~success]] = k % 2 == 1
        going, k = going[success], k + 1
    return found


def _one_in(noise: SecretNoise, count: int, k: int) -> np.ndarray:
    """Lots of chance 1 / k."""
    drawn, most = _uniform(noise, count, 16), WORD // k * k
    while (again := np.flatnonzero(drawn >= most)).size:
        drawn[again] = _uniform(noise, again.size, 16)
    return drawn % k == 0


def _uniform(noise: SecretNoise, count: int, bits: int) -> np.ndarray:
    """Uniform integers of so many bits, at most 63; int64 (count,)."""
    drawn = noise.integers(count) >> np.uint64(1)
    return np.asarray(drawn.astype(np.int64) >> (63 - bits))
