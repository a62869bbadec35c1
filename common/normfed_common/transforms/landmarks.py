"""From a scan's own quantiles to the mean quantiles of all scans of all sites, straight between them.

A site sends n and the sum of its scans' landmarks, which are quantiles of a modality over the brain, as shares of a
range; the mean is that of the pooled scans. Histograms of sites are not merged instead: quantiles of a merged histogram
are no mean of scans' quantiles, its bins hold few people where a scan is unusual, and it takes more numbers.

Beyond the outermost landmarks the outermost lines go on. Landmarks that are alike in a scan have one value afterwards.

With differential privacy a person adds how far the landmarks lie from those of a public distribution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import isotonic_regression

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import PEOPLE, Bounded
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.transforms.by_value import ByValue
from normfed_common.transforms.means import LearnsMeans

BENT = 0.75  # more of a brain is bright than dark: its q-quantile lies at about q^0.75 of the way up


class Landmarks(LearnsMeans, ByValue, ABC):
    """See the module.

    Attributes
    ----------
    quantiles
        (K,), ascending, within 0 to 1.
    """

    most = 1.0
    quantiles: np.ndarray

    def shape(self, found: tuple[int, ...] = ()) -> tuple[int, ...]:
        """(K,)."""
        return self.quantiles.shape

    def described(self, volume: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
        """Landmarks as shares of a range."""
        values = volume[mask].astype(np.float64)
        return self.shares(np.quantile(values, self.quantiles)) if values.size else None

    def check(self, phase: str, sums: Arrays) -> None:
        """Landmarks ascend."""
        super().check(phase, sums)
        if (np.diff(sums["sum"], axis=1) < -SUMS_ROUNDING * np.maximum(sums["count"], 1)[:, None]).any():
            raise WireError("sums are not of landmarks, which ascend")

    def bounded(self, phase: str) -> Bounded | None:
        """Landmarks of people who have every modality."""
        if self.setting.may_lack:
            return None
        usual, unit = self.usual()
        return _MeanLandmarks(len(self.setting.modalities), usual, unit, self._of_person)

    def changed(self, values: np.ndarray, channel: int, mask: np.ndarray) -> np.ndarray:
        """Through the landmarks; as `unlearnt` of a modality that nobody had."""
        mean = self.mean(channel)
        if mean is None:
            return self.unlearnt(values)
        return piecewise_linear(values, np.quantile(values, self.quantiles), self.standard(mean))

    @abstractmethod
    def shares(self, landmarks: np.ndarray) -> np.ndarray | None:
        """A scan's landmarks (K,) as shares of a range, within 0 to 1; None where it has none."""

    @abstractmethod
    def standard(self, shares: np.ndarray) -> np.ndarray:
        """What scans have at the landmarks afterwards, of mean shares (K,)."""

    @abstractmethod
    def unlearnt(self, values: np.ndarray) -> np.ndarray:
        """What values (n,) become of which nothing was learnt."""

    @abstractmethod
    def usual(self) -> tuple[np.ndarray, float]:
        """Shares (K,) that are public, and about the root mean square of people's distance from them."""

    def _of_person(self, person: Cohort) -> np.ndarray:
        """Mean shares of a person's scans, (C, K); NaN where there are none."""
        sums, _ = self.summed(person)
        with np.errstate(invalid="ignore"):
            found: np.ndarray = sums["sum"] / sums["count"][:, None]
        return found


class _MeanLandmarks(Bounded):
    """See the module."""

    def __init__(self, channels: int, usual: np.ndarray, unit: float, shares: Callable[[Cohort], np.ndarray]) -> None:
        self._channels, self._usual, self._shares = channels, usual, shares
        self._unit = unit * np.sqrt(channels * len(usual))

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """``landmarks`` (C, K)."""
        return {"landmarks": (self._channels, len(self._usual))}

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """How far from usual the person's are; 0 of a modality without any."""
        return {"landmarks": np.nan_to_num(self._shares(person) - self._usual) / self._unit}

    def beside(self, people: int) -> Arrays:
        """``people`` ()."""
        return {PEOPLE: np.asarray(float(people))}

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        """``count`` and ``sum`` of the nearest landmarks that ascend (Barlow 1972), within 0 to 1."""
        check_shapes(total, {PEOPLE: (), **self.shapes()})
        people = float(total[PEOPLE])
        if not people > 0:
            raise WireError("the sums cover no people")
        means = self._usual + total["landmarks"] * self._unit / people
        ascending = np.stack([isotonic_regression(one).x for one in means])
        return {"count": np.full(self._channels, people), "sum": people * np.clip(ascending, 0, 1)}


def piecewise_linear(values: np.ndarray, own: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """What lies at a scan's own landmarks moves to the standard ones, and what lies between on straight lines.

    Parameters
    ----------
    values
        (n,).
    own, standard
        (K,), ascending.
    """
    places, first, alike = np.unique(own, return_index=True, return_counts=True)
    aims = np.add.reduceat(standard, first) / alike
    if len(places) == 1:
        return np.full(values.shape, aims[0])
    slopes = np.diff(aims)[[0, -1]] / np.diff(places)[[0, -1]]
    found = np.interp(values, places, aims)
    for slope, place, beyond in ((slopes[0], 0, values < places[0]), (slopes[1], -1, values > places[-1])):
        found[beyond] = aims[place] + slope * (values[beyond] - places[place])
    return found
