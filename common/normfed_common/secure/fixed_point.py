"""Numbers as integers modulo 2^k, so that they can be masked and added up without rounding, and no sum wraps.

A number x with |x| <= largest becomes round(x s) mod 2^k. The scale s is the largest power of two with

    sites (largest s + 1/2) <= 2^(k - 1) - 1,

so that the sum of all sites, read as a signed integer, is never beyond its range. The *resolution* is 1 / s, and a sum
is off by half of that per site at most: with 23 sites, 32 bits and |x| <= 8 the resolution is 1.2e-7.

Sums of squares are held against sums to a millionth of themselves, however small: one integer of 64 bits is too coarse.
`WidePoint` is two of them, the second for what the first leaves: with 23 sites and |x| <= 1e12 the resolution is
6.6e-24, and sums are those of float64 to its last bits.

Numbers with distributed noise are whole steps of a grid before they come here, and stay exactly that: `Multiples`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from normfed_common.secure.keystream import TYPES, Bits

LARGEST_MULTIPLE = 2**50  # of one site: float64 keeps it, and a sum of 2^12 sites, more than there are, never wraps


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

    def encode(self, values: np.ndarray, weight: float = 1.0) -> np.ndarray:
        """Unsigned integers of the same shape, of ``weight`` times the values.

        Parameters
        ----------
        weight
            At most 1.

        Raises
        ------
        RangeError
            If one is beyond the range, or not a number: added up it would change the sum, and nobody would see it.
        """
        found = np.asarray(values, np.float64)
        largest = np.abs(found).max(initial=0.0)
        if not largest <= self.largest:  # NaN is never less
            raise RangeError(f"{largest:.3g} is not within {self.largest:.3g}")
        return np.asarray(np.rint(found * (weight * self.scale))).astype(np.int64).astype(TYPES[self.bits])

    def decode(self, total: np.ndarray) -> np.ndarray:
        """The sum, float64, of the sum of so many sites' integers."""
        return np.asarray(total).view(total.dtype.str.replace("u", "i")) / self.scale


@dataclass(frozen=True)
class WidePoint:
    """Two integers per number; see the module and `FixedPoint`."""

    bits: Bits
    largest: float
    sites: int

    @cached_property
    def coarse(self) -> FixedPoint:
        """For the number."""
        return FixedPoint(self.bits, self.largest, self.sites)

    @cached_property
    def fine(self) -> FixedPoint:
        """For what the first integer leaves of it: half its resolution at most, and exactly, as scales are powers of
        two."""
        return FixedPoint(self.bits, self.coarse.resolution / 2, self.sites)

    @property
    def resolution(self) -> float:
        """Of both together."""
        return self.fine.resolution

    def encode(self, values: np.ndarray, weight: float = 1.0) -> np.ndarray:
        """Unsigned integers, shape (2, ...); see `FixedPoint.encode`.

        Raises
        ------
        RangeError
            If a number is beyond the range, or none.
        """
        first = self.coarse.encode(values, weight)
        rest = np.asarray(values, np.float64) * weight - self.coarse.decode(first)
        return np.stack([first, self.fine.encode(np.clip(rest, -self.fine.largest, self.fine.largest))])

    def decode(self, total: np.ndarray) -> np.ndarray:
        """The sum, float64."""
        return self.coarse.decode(total[0]) + self.fine.decode(total[1])


@dataclass(frozen=True)
class Multiples:
    """Whole steps of a grid as the integers that they are, 64 bits: nothing is rounded.

    Parameters
    ----------
    step
        Of the grid.
    """

    step: float

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Unsigned integers of the same shape.

        Raises
        ------
        RangeError
            If one is beyond the range, not on the grid, or not a number.
        """
        steps = np.asarray(values, np.float64) / self.step
        largest = np.abs(steps).max(initial=0.0)
        if not largest <= LARGEST_MULTIPLE:  # NaN is never less
            raise RangeError(f"{largest:.3g} steps are not within {LARGEST_MULTIPLE:.3g}")
        whole = np.rint(steps)
        if not (np.asarray(values, np.float64) == whole * self.step).all():
            raise RangeError("a number with distributed noise is not on its grid")
        return whole.astype(np.int64).astype(TYPES[64])

    def decode(self, total: np.ndarray) -> np.ndarray:
        """The sum, float64, of the sum of sites' integers."""
        return np.asarray(total).view("<i8") * self.step
