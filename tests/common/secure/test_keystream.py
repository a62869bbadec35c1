import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from normfed_common.secure import keystream
from normfed_common.secure.keystream import PIECE, TYPES


def test_the_stream_is_that_of_rfc_8439():
    """Appendix A.1, test vector 1: key, nonce and counter are zero."""
    expected = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    assert keystream.keystream(bytes(32), 16, 32).tobytes() == expected


def test_integers_of_32_and_of_64_bits_are_the_same_bytes():
    key = bytes(range(32))
    assert keystream.keystream(key, 10, 32).tobytes() == keystream.keystream(key, 5, 64).tobytes()


@pytest.mark.parametrize("bits", [32, 64])
@given(count=st.sampled_from([0, 1, 7, PIECE // 8 - 1, PIECE // 4, PIECE // 4 + 1, PIECE + 3]))
def test_what_is_added_in_pieces_is_the_whole_stream(bits, count):
    whole = np.zeros(count, TYPES[bits])
    keystream.add(whole, b"\5" * 32)
    np.testing.assert_array_equal(whole, keystream.keystream(b"\5" * 32, count + 10, bits)[:count])


@pytest.mark.parametrize("bits", [32, 64])
def test_what_is_taken_away_again_leaves_the_numbers(bits):
    numbers = np.arange(1000).astype(TYPES[bits])
    total = numbers.copy()
    keystream.add(total, b"k" * 32)
    assert not (total == numbers).any()
    keystream.add(total, b"k" * 32, -1)
    np.testing.assert_array_equal(total, numbers)


def test_bytes_of_a_stream_are_uniform():
    stream = keystream.keystream(b"u" * 32, 2**18, 32)
    assert chisquare(np.bincount(stream.view(np.uint8), minlength=256)).pvalue > 1e-4
