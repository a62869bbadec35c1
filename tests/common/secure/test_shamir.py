import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation.errors import WireError
from normfed_common.secure import shamir

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS, SECRETS, st.integers(1, 8), st.data())
def test_any_threshold_of_shares_gives_the_secret_back(secret, key, threshold, data):
    holders = range(1, threshold + data.draw(st.integers(0, 4)) + 1)
    shares = shamir.split(secret, holders, threshold, key)
    chosen = data.draw(st.permutations(list(holders)))[:threshold]
    assert shamir.combine({number: shares[number] for number in chosen}, threshold) == secret


def test_every_set_of_three_of_five_shares_gives_the_secret_back():
    shares = shamir.split(bytes(range(32)), range(1, 6), 3, bytes(32))
    for chosen in itertools.combinations(shares, 3):
        assert shamir.combine({number: shares[number] for number in chosen}, 3) == bytes(range(32))


@given(SECRETS, SECRETS, SECRETS)
def test_fewer_shares_than_the_threshold_fit_every_secret(secret, other, key):
    """For two shares of three and any other secret there is a third share that gives it: Lagrange at its number."""
    shares = shamir.split(secret, range(1, 4), 3, key)
    wanted = int.from_bytes(other, "big")
    one, two = (int.from_bytes(shares[number], "big") for number in (1, 2))
    # s = 3 y1 - 3 y2 + y3 over the numbers 1, 2, 3
    third = ((wanted - 3 * one + 3 * two) % shamir.PRIME).to_bytes(shamir.SHARE_BYTES, "big")
    assert shamir.combine({1: shares[1], 2: shares[2], 3: third}, 3) == other


def test_a_share_is_the_value_of_the_polynomial_that_goes_through_all_others():
    shares = {
        n: int.from_bytes(s, "big") for n, s in shamir.split(bytes(31) + b"\7", range(1, 5), 3, bytes(32)).items()
    }
    # Differences of the third order of a polynomial of degree two vanish.
    assert (shares[4] - 3 * shares[3] + 3 * shares[2] - shares[1]) % shamir.PRIME == 0


def test_the_same_key_splits_the_same_and_another_otherwise():
    secret = bytes(range(32))
    assert shamir.split(secret, [1, 2], 2, bytes(32)) == shamir.split(secret, [1, 2], 2, bytes(32))
    assert shamir.split(secret, [1, 2], 2, bytes(32)) != shamir.split(secret, [1, 2], 2, b"\1" * 32)


def test_the_prime_is_prime():
    # Lucas and Lehmer: 2^p - 1 is prime if and only if s_(p-2) = 0, s_0 = 4, s_(i+1) = s_i^2 - 2.
    found = 4
    for _ in range(521 - 2):
        found = (found * found - 2) % shamir.PRIME
    assert found == 0


@pytest.mark.parametrize("changed", [b"\1" * 66, bytes(66), b"\0"])
def test_shares_that_do_not_fit_are_refused(changed):
    shares = shamir.split(bytes(range(32)), range(1, 4), 3, bytes(32)) | {2: changed}
    with pytest.raises(WireError, match="share"):
        shamir.combine(shares, 3)


def test_too_few_shares_are_refused():
    with pytest.raises(WireError, match="2 shares of a secret are there; 3 are needed"):
        shamir.combine(shamir.split(bytes(32), [1, 2], 3, bytes(32)), 3)
