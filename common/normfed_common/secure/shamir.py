"""Shamir's secret sharing (1979, doi 10.1145/359168.359176): t shares of a secret give it back, t - 1 tell nothing.

Over the integers modulo the Mersenne prime 2^521 - 1, in which a secret of 256 bits is one number: a share is the value
of a polynomial of degree t - 1, whose constant term is the secret, at the number of whoever holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from normfed_common.foundation.errors import WireError
from normfed_common.secure.keystream import keystream

PRIME = 2**521 - 1
SHARE_BYTES = 66
SECRET_BYTES = 32


def split(secret: bytes, holders: Iterable[int], threshold: int, key: bytes) -> dict[int, bytes]:
    """One share per holder.

    Parameters
    ----------
    secret
        Of 32 bytes.
    holders
        Their numbers, from 1.
    threshold
        Shares that give the secret back.
    key
        Of 32 bytes, known to nobody else, used for this secret alone: of which the polynomial's other coefficients are
        drawn, so that who splits again gives everybody the same share again.
    """
    coefficients = [int.from_bytes(secret, "big"), *_coefficients(key, threshold - 1)]
    return {number: _value(coefficients, number).to_bytes(SHARE_BYTES, "big") for number in holders}


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret, of the first so many shares in the order of their holders.

    Raises
    ------
    WireError
        If there are too few shares, or they are not all of one secret of 32 bytes.
    """
    if len(shares) < threshold:
        raise WireError(f"{len(shares)} shares of a secret are there; {threshold} are needed")
    holders = tuple(sorted(shares))[:threshold]
    if any(len(shares[number]) != SHARE_BYTES for number in holders):
        raise WireError("a share of a secret has the wrong length")
    terms = zip(_weights(holders), holders, strict=True)
    secret = sum(weight * int.from_bytes(shares[number], "big") for weight, number in terms) % PRIME
    if secret >> (8 * SECRET_BYTES):
        raise WireError("the shares of a secret do not fit each other")
    return secret.to_bytes(SECRET_BYTES, "big")


def _coefficients(key: bytes, count: int) -> list[int]:
    """Uniform modulo the prime up to one part in 2^183: 704 bits each, reduced."""
    stream = keystream(key, 22 * count, 32).tobytes()
    return [int.from_bytes(stream[start : start + 88], "big") % PRIME for start in range(0, 88 * count, 88)]


def _value(coefficients: list[int], at: int) -> int:
    found = 0
    for coefficient in reversed(coefficients):
        found = (found * at + coefficient) % PRIME
    return found


@lru_cache(maxsize=64)
def _weights(holders: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's, of the value at 0: prod_{j != i} x_j / (x_j - x_i)."""
    found = []
    for one in holders:
        above, below = 1, 1
        for other in holders:
            if other != one:
                above, below = above * other % PRIME, below * (other - one) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(found)
