"""Noise of a secure sum that every site adds its share of, so that the sum has as much as one site would add alone.

**Who sees what.** Of a secure sum over sites S the server and the sites that work for it see one thing of the others:
the sum of their parts (see `normfed_common.secure.thresholds`). S has t sites at least (`minimum_sites`), of which c at
most work for the server (`colluding_sites`); so h = t - c parts at least are of honest sites, and in the sum as long
as anything can be read off it.

**What a site sends** is a vector of integers: sum over its people of trunc(c_p / g), c_p a contribution of length 1 at
most and trunc the rounding of each entry towards 0, plus noise of the discrete Gaussian of sigma = 2^k. The grid is
g = z / sqrt(h) / 2^k. As |trunc(x)| <= |x|, one person moves the integers by 1 / g at most: rounding adds nothing to
the sensitivity, since each person is rounded alone and before the sum.

**What that costs.** Of n >= h honest sites the sum of the noises is, to within a factor exp(+-tau) of every
probability, a discrete Gaussian of n sigma^2, tau = 10 sum_{j<n} exp(-2 pi^2 sigma^2 j / (j + 1)) per entry (Kairouz,
Liu & Steinke 2021, arXiv 2102.06387). That in turn is a Gaussian of n sigma^2 - s^2 around the sum of the parts,
rounded at random by a discrete Gaussian of s^2, to within a factor 1 +- 4 exp(-2 pi^2 s^2) per entry (Peikert 2010, doi
10.1007/978-3-642-14623-7_5, theorem 3.1): a function of what the Gaussian mechanism releases. With k = 20 and s = 8
both factors differ from 1 by less than 10^-500, whatever the number of entries, and s^2 costs 2^-34 of the variance,
which `MARGIN` more noise makes up for. So the release is no worse than one of the Gaussian mechanism with noise
multiplier z, and is accounted for as that, tightly. Each site rounding its sum after a continuous draw would not do by
itself: a sum of rounded values is no function of the sum of the values.

**One sum per part.** The difference of two sums that a part is in has less noise than h shares. So a part is masked
once: a site that sent its part takes no part in another attempt at the same sum, and a sum in another run, or under
another name, has noise of its own, drawn from the secrets of that exchange, and its own entry in the ledger.

**Weights.** Parts are added up as they are (`federation.sums: by-people`). Weighted by site, a person of a small site
would move the sum by more than one of a large site, whose share would be cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.privacy.discrete import discrete_gaussian
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.noise import SecretNoise
from normfed_common.secure.fixed_point import LARGEST_MULTIPLE, Multiples
from normfed_common.secure.parts import OnGrid

BITS = 20  # sigma in steps of the grid, as a power of two
MARGIN = 2.0**-30  # relative: more noise, for what is only nearly a Gaussian
SHORTER = 1 - 2.0**-24  # so that what float64 rounds makes no contribution longer than 1
TAIL = 64  # sigma: the noise is beyond with a chance below exp(-2000)


@dataclass(frozen=True)
class NoiseShare:
    """What one site adds, and the grid that it is on; see the module.

    Parameters
    ----------
    multiplier
        z, of the sum.
    sites
        h.
    """

    multiplier: float
    sites: int

    @classmethod
    def of(cls, release: SampledGaussian) -> NoiseShare:
        """Of a sum that the noise of several sites is in."""
        return cls(release.noise_multiplier, release.sites)

    @property
    def scale(self) -> float:
        """Standard deviation of one site's noise, in lengths of a contribution."""
        return self.multiplier * (1 + MARGIN) / math.sqrt(self.sites)

    @property
    def step(self) -> float:
        """g."""
        return self.scale / 2**BITS

    @property
    def per_length(self) -> float:
        """Steps that a contribution of length 1 is rounded from, a little less than 1 / g."""
        return SHORTER / self.step

    def check(self, people: int) -> None:
        """Refuse sums over so many people that the integers may be too large; it depends on no scan.

        Raises
        ------
        SiteError
            If they may.
        """
        most = people / self.step + TAIL * 2**BITS
        if most > LARGEST_MULTIPLE:
            raise SiteError(
                SiteCode.OUT_OF_RANGE,
                f"distributed noise of {self.scale:.3g} beside sums over {people:,} people takes integers up to "
                f"{most:.3g}, and {LARGEST_MULTIPLE:.3g} is the most. Lower privacy.epsilon.",
            )

    def rounded(self, contribution: Arrays) -> Arrays:
        """A contribution of length 1 at most, in whole steps, no longer: int64."""
        return {name: np.trunc(array * self.per_length).astype(np.int64) for name, array in contribution.items()}

    def noised(self, total: np.ndarray, noise: SecretNoise) -> np.ndarray:
        """A total of whole steps and this site's noise, float64, in lengths of a contribution on the grid."""
        drawn = discrete_gaussian(noise, total.size, BITS).reshape(total.shape)
        return np.asarray((total.astype(np.int64) + drawn) * self.step)

    def grid(self, names: Iterable[str]) -> OnGrid:
        """How arrays of these names are masked and added up."""
        return OnGrid(frozenset(names), Multiples(self.step))
