"""Noise and lots that nobody can draw again who does not have the key: Gaussian, uniform, orders.

All come from the keystream of ChaCha20 (RFC 8439) under a key that is derived from a secret of the site. The study's
seed, which the server knows, has no part in them: whoever can draw the noise again can take it off.

A sum of floating-point numbers can show in its last digits what was added to what (Mironov 2012, ACM CCS, doi
10.1145/2382196.2382264). Hence `SecretNoise.noised` rounds to a grid that depends on nothing but the noise's scale and
is coarse beside the digits of float64: that is a function of the exact sum, from which no more can be learnt.
"""

from __future__ import annotations

import math

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

KEY_BYTES = 32
GRID_BITS = 24  # a grid so much finer than the noise's scale, as binary digits: 2^-29 of it are left to float64
AT_ONCE = 2**14  # pairs of Gaussian numbers: what stays in a processor's cache


class SecretNoise:
    """A stream of draws; each call of a method is one draw, numbered from 0, with a keystream of its own.

    Parameters
    ----------
    key
        32 bytes, see `foundation.keys`; never used for anything else.

    Raises
    ------
    ValueError
        If the key has another length.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of a noise has {len(key)} bytes; it must have {KEY_BYTES}")
        self._key, self._draws = key, 0

    def gaussian(self, shape: int | tuple[int, ...], scale: float) -> np.ndarray:
        """Independent numbers of N(0, scale^2), float64 of ``shape``.

        To add to figures of people use `noised`. Source: Box & Muller 1958, doi 10.1214/aoms/1177706645; all 53 binary
        digits of both uniform numbers are drawn, and none is beyond 8.6 scales.
        """
        found = np.empty(shape)
        flat, stream = found.reshape(-1), self._stream()
        for begin in range(0, len(flat), 2 * AT_ONCE):
            part = flat[begin : begin + 2 * AT_ONCE]
            half = -(-len(part) // 2)
            uniform = stream.uniform(2 * half)
            radius = scale * np.sqrt(-2 * np.log1p(-uniform[:half]))
            angle = 2 * math.pi * uniform[half:]
            part[:half] = radius * np.cos(angle)
            part[half:] = (radius * np.sin(angle))[: len(part) - half]
        return found

    def noised(self, values: np.ndarray, scale: float) -> np.ndarray:
        """``values`` + N(0, scale^2), float64, rounded to a grid whose step is a power of two; see the module.

        With a scale of 0, ``values`` as they are.
        """
        noise = self.gaussian(values.shape, scale)
        if scale == 0:
            return np.asarray(values, np.float64)
        step = 2.0 ** (math.floor(math.log2(scale)) - GRID_BITS)
        noise += values
        noise /= step
        np.rint(noise, out=noise)
        noise *= step
        return noise

    def uniform(self, count: int) -> np.ndarray:
        """Uniform in [0, 1), float64 (count,), of 53 binary digits."""
        return self._stream().uniform(count)

    def permutation(self, count: int) -> np.ndarray:
        """0 to count - 1 in random order, int64 (count,)."""
        return np.argsort(self._stream().integers(count), kind="stable")

    def _stream(self) -> _Keystream:
        self._draws += 1
        return _Keystream(self._key, self._draws - 1)


class _Keystream:
    """One draw's: the block counter begins at 0, the nonce is the draw's number."""

    def __init__(self, key: bytes, number: int) -> None:
        self._cipher = Cipher(ChaCha20(key, bytes(4) + number.to_bytes(12, "little")), mode=None).encryptor()

    def integers(self, count: int) -> np.ndarray:
        """Of 64 bits, uint64 (count,)."""
        return np.frombuffer(self._cipher.update(bytes(8 * count)), "<u8")

    def uniform(self, count: int) -> np.ndarray:
        return (self.integers(count) >> np.uint64(11)) * 2.0**-53
