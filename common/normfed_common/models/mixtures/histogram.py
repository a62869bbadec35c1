"""A histogram of voxel vectors y in R^M, as it leaves a site with noise, and voxels drawn from it.

The bins are those of a grid over the study's range of values. Of a person they add up to 1, so that their length as a
vector is that of a distribution over about as many bins as voxels fill evenly: a third or less.

The total with noise in it is smoothed by a Gaussian, of the width whose unbiased estimate of risk is least (Stein 1981,
Ann. Statist. 9:1135); what then is within two standard deviations of the noise is taken for noise, since classes would
be fitted to it; and the rest is projected onto the nearest histogram that is nowhere below 0 and adds up to 1 (Duchi et
al. 2008, ICML, doi 10.1145/1390156.1390191).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import gaussian_filter

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import PEOPLE, Bounded
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.models.mixtures.voxels import COUNT

HISTOGRAM = "histogram"
BINS = {1: 64, 2: 32, 3: 16}  # along each axis, by modalities; of more, as many as make no more than MOST_BINS
MOST_BINS = 4096
LENGTH = {1: 0.35, 2: 0.15}  # of most people's histograms; 0.1 with more modalities
DRAWN = 20_000
WIDTHS = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)  # standard deviations, in bins
NOTHING = 2.0  # standard deviations of noise


class VoxelHistogram(Bounded):
    """See the module.

    Parameters
    ----------
    modalities
        M.
    value_range
        Of voxels.
    normal
        A person's voxels, (M, n).
    """

    def __init__(
        self, modalities: int, value_range: tuple[float, float], normal: Callable[[Cohort], np.ndarray]
    ) -> None:
        self._size, self._range, self._normal = modalities, value_range, normal
        self._bins = BINS.get(modalities) or max(2, int(MOST_BINS ** (1 / modalities) + 1e-9))
        self._length = LENGTH.get(modalities, 0.1)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """``histogram``, flat."""
        return {HISTOGRAM: (self._bins**self._size,)}

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """Shares of the person's voxels, by `LENGTH`."""
        y, (low, high) = self._normal(person), self._range
        along = np.clip(np.nan_to_num((y - low) / (high - low)) * self._bins, 0, self._bins - 1).astype(int)
        flat = np.ravel_multi_index(tuple(along), (self._bins,) * self._size)
        counts = np.bincount(flat, minlength=self._bins**self._size).astype(np.float64)
        return {HISTOGRAM: counts / max(counts.sum(), 1.0) / self._length}

    def beside(self, people: int) -> Arrays:
        """``people`` ()."""
        return {PEOPLE: np.asarray(float(people))}

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        """``count`` (), and ``histogram``, which adds up to it."""
        check_shapes(total, {PEOPLE: ()})
        count = total[PEOPLE]
        if not count > 0:
            raise WireError("the sums cover no people")
        shares = (total[HISTOGRAM] * self._length / count).reshape((self._bins,) * self._size)
        found = _denoised(shares, noise * self._length / float(count)).ravel()
        return {COUNT: count, HISTOGRAM: count * _projected(found)}

    def check(self, sums: Arrays) -> None:
        """Shares add up to people.

        Raises
        ------
        WireError
            If they do not, or one is below 0.
        """
        check_shapes(sums, {COUNT: (), **self.shapes()})
        count, histogram = float(sums[COUNT]), sums[HISTOGRAM]
        if (histogram < 0).any() or abs(histogram.sum() - count) > SUMS_ROUNDING * count:
            raise WireError("a histogram does not add up to its people")

    def drawn(self, sums: Arrays, rng: np.random.Generator) -> np.ndarray:
        """About `DRAWN` voxels with this histogram, float64 (M, n), each anywhere in its bin."""
        counts = np.rint(DRAWN * sums[HISTOGRAM] / sums[COUNT]).astype(int)
        along = np.array(np.unravel_index(np.repeat(np.arange(len(counts)), counts), (self._bins,) * self._size))
        low, high = self._range
        found: np.ndarray = low + (along + rng.random(along.shape)) * (high - low) / self._bins
        return found


def _denoised(values: np.ndarray, noise: float) -> np.ndarray:
    """What is left of a grid of numbers without noise of that standard deviation; see the module."""
    if noise == 0:
        return values
    found, best = values, np.inf
    for width in WIDTHS:
        one = np.zeros(values.shape)
        one[tuple(length // 2 for length in values.shape)] = 1
        kernel = gaussian_filter(one, width, mode="constant")
        smooth = gaussian_filter(values, width, mode="constant")
        risk = float(((values - smooth) ** 2).sum() + 2 * noise**2 * kernel.max() * values.size)
        if risk < best:
            left = NOTHING * noise * float(np.sqrt((kernel**2).sum()))
            found, best = np.where(smooth > left, smooth, 0.0), risk
    return found


def _projected(values: np.ndarray) -> np.ndarray:
    """The nearest vector that is nowhere below 0 and adds up to 1."""
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    found: np.ndarray = np.maximum(values - excess[np.flatnonzero(ordered > excess)[-1]], 0)
    return found
