"""What is released with noise: the Gaussian mechanism on samples of people."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SampledGaussian:
    """Sums of vectors, one per person of a Poisson sample, each at most C long, plus noise N(0, (z C)^2 I).

    Two neighbouring cohorts differ by one person, whose vector is zero in one of them (Kairouz 2021, arXiv
    2103.00039, "zero-out"); how many people there are is public.

    Parameters
    ----------
    noise_multiplier
        z; 0 for no noise.
    sampling_rate
        q, each person's chance to be in a sample, (0, 1]; 1 for everybody.
    times
        How many such sums are released, each with a sample and noise of its own.
    sites
        How many add the noise together, each its share; 1 where a site adds all of it (see `distributed`).
    """

    noise_multiplier: float
    sampling_rate: float = 1.0
    times: int = 1
    sites: int = 1

    def repeated(self, times: int) -> SampledGaussian:
        """All of these again and again, ``times`` times."""
        return replace(self, times=self.times * times)

    def alone(self) -> SampledGaussian:
        """What is left of these where no other site adds its share of the noise."""
        return replace(self, noise_multiplier=self.noise_multiplier / math.sqrt(self.sites), sites=1)
