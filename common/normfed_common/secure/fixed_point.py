"""Numbers as integers modulo 2^k, so that they can be masked and added up without rounding, and no sum wraps.

A number x with |x| <= largest becomes round(x s) mod 2^k. The scale s is the largest power of two with

    sites (largest s + 1/2) <= 2^(k - 1) - 1,

so that the sum of all sites, read as a signed integer, is never beyond its range. The *resolution* is 1 / s, and a sum
is off by half of that per site at most: with 23 sites, 32 bits and |x| <= 8 the resolution is 1.2e-7, with 64 bits and
|x| <= 1e12 it is 3.8e-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from normfed_common.secure.keystream import TYPES, Bits


class RangeError(ValueError):
    """A number is beyond the declared range, or none."""


@dataclass(frozen=True)
class FixedPoint:
    """See the module.

    Parameters
    ----------
    largest
        Of any one site's numbers, by magnitude.
    sites
        That are added up at most.
    """

    bits: Bits
    largest: float
    sites: int

    @cached_property
    def scale(self) -> float:
        """s, a power of two."""
        most = Fraction(2 ** (self.bits - 1) - 1, self.sites) - Fraction(1, 2)
        exponent = math.floor(math.log2(most / Fraction(self.largest))) + 1
        while Fraction(self.largest) * Fraction(2) ** exponent > most:  # once or twice: the logarithm is rounded
            exponent -= 1
        return float(Fraction(2) ** exponent)

    @property
    def resolution(self) -> float:
        """1 / s."""
        return 1 / self.scale

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Unsigned integers of the same shape.

        Raises
        ------
        RangeError
            If one is beyond the range, or not a number: added up it would change the sum, and nobody would see it.
        """
        found = np.asarray(values, np.float64)
        largest = np.abs(found).max(initial=0.0)
        if not largest <= self.largest:  # NaN is never less
            raise RangeError(f"{largest:.3g} is not within {self.largest:.3g}")
        return np.rint(found * self.scale).astype(np.int64).astype(TYPES[self.bits])

    def decode(self, total: np.ndarray) -> np.ndarray:
        """The sum, float64, of the sum of so many sites' integers."""
        return total.view(total.dtype.str.replace("u", "i")) / self.scale
