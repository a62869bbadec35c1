"""y = (x - m) / s, mean and standard deviation of the stripe of values around the peak of white matter.

The peak is one of a smooth histogram of the brain: of T1w the last, above which rarer values are left out first; of
others the largest. The stripe reaches from `width` below the peak to `width` above it, in quantiles of the brain.

What a stripe's deviation is one of is the noise in white matter, so that fluid lies tens of them away. Where the stripe
holds no two values the brain's mean and standard deviation are taken, and a constant modality becomes 0.

Shinohara et al. 2014 (NeuroImage Clin. 6:9).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from normfed_common.learning.deviations import in_deviations
from normfed_common.study.base import Frozen
from normfed_common.transforms.by_value import ByValue, Clipped

PEAKS: dict[str, Literal["last", "largest"]] = {"T1w": "last"}  # white matter is the brightest tissue there
RARE = 96.0  # percentile above which nothing belongs to the last peak (as in intensity-normalization)
GRID = 80  # values at which the histogram's smooth density is looked at (as there)
BINS = 4096  # into which values are counted before they are smoothed: far narrower than the Gaussian


class WhiteStripeConfig(Clipped):
    """Which peak, and how wide the stripe."""

    peak: Literal["usual", "last", "largest"] = Field(
        "usual", description="of white matter in the histogram; usual: the last one of T1w, the largest one of others"
    )
    width: float = Field(0.05, gt=0, le=0.5, description="of the stripe to either side of the peak, in quantiles")
    clip: tuple[float, float] = Field((-200.0, 200.0), description="values are clipped to this range afterwards")


class WhiteStripe(ByValue):
    """Normal-appearing white matter gets a mean of 0 and a standard deviation of 1 in every scan: that around its peak
    in the scan's histogram."""

    Config: ClassVar[type[Frozen]] = WhiteStripeConfig
    cited: ClassVar[tuple[str, ...]] = ("shinohara2014",)

    def changed(self, values: np.ndarray, channel: int, mask: np.ndarray) -> np.ndarray:
        """See the module."""
        place = float((values < self._peak(values, channel)).mean())
        width = self.config.width
        low, high = np.quantile(values, (max(place - width, 0.0), min(place + width, 1.0)))
        stripe = values[(values > low) & (values < high)]
        if not stripe.size or stripe.min() == stripe.max():
            return in_deviations(values)
        found: np.ndarray = (values - stripe.mean()) / stripe.std()
        return found

    def _peak(self, values: np.ndarray, channel: int) -> float:
        which = self.config.peak
        if which == "usual":
            which = PEAKS.get(self.setting.modalities[channel], "largest")
        if which == "last":
            values = values[values <= np.percentile(values, RARE)]
        grid, density = smooth_density(values)
        maxima = 1 + np.flatnonzero((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:]))
        chosen = maxima[-1] if which == "last" and len(maxima) else np.argmax(density)
        return float(grid[chosen])


def smooth_density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian kernel density of values (n,), n >= 1: where it is looked at, and the density there, (GRID,) each.

    The bandwidth is Scott's (1992), as of `scipy.stats.gaussian_kde`, which takes every value by itself.
    """
    grid = np.linspace(values.min(), values.max(), GRID)
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    bandwidth = spread * len(values) ** -0.2
    if not grid[-1] > grid[0] or not bandwidth > 0:
        return grid, np.ones(GRID)
    counts, edges = np.histogram(values, BINS, (grid[0], grid[-1]))
    away = (grid[:, None] - (edges[:-1] + edges[1:]) / 2) / bandwidth
    density: np.ndarray = np.exp(-(away**2) / 2) @ counts
    return grid, density
