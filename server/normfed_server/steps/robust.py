"""Steps that some sites may lie to: their people are not counted, since a liar would claim many.

Coordinate-wise median and trimmed mean (Yin 2018, arXiv 1803.01498), Krum and Multi-Krum (Blanchard 2017, arXiv
1703.02757), norm clipping (Sun 2019, arXiv 1911.07963). Beside the updates only one array of all sites is copied at a
time. Flower's strategies, which copy everything, are the oracles.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.study.federation import FederationConfig
from normfed_server.steps.base import Gathering, Update
from normfed_server.steps.mean import RunningMean
from normfed_server.steps.progress import Progress


class _CountingAlike(Gathering):
    """Every update counts alike, whatever its site says."""

    def weight(self, update: Update) -> float:
        """See `Step`."""
        return 1.0


class _ByCoordinate(_CountingAlike):
    """Every coordinate on its own."""

    @abstractmethod
    def middle(self, values: np.ndarray) -> np.ndarray:
        """Of values (sites, ...), which it may reorder, one along the first axis."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        progress.models[0] = {
            name: self.middle(np.stack([update.arrays[name] for update in self.updates])) for name in progress.models[0]
        }


class Median(_ByCoordinate):
    """The median of every coordinate; of an even number of sites the mean of the middle two."""

    def middle(self, values: np.ndarray) -> np.ndarray:
        """See `_ByCoordinate`."""
        return np.median(values, axis=0, overwrite_input=True)


class TrimmedMean(_ByCoordinate):
    """The mean of every coordinate without its extremes.

    The paper has beta times the number of sites whole; otherwise it is rounded down, as by Flower and SciPy: with
    beta 0.2 up to four sites lose nothing, and the step is the plain mean.
    """

    def middle(self, values: np.ndarray) -> np.ndarray:
        """See `_ByCoordinate`."""
        sites = len(values)
        cut = int(self.parameters.beta * sites)
        values.partition((cut, sites - cut - 1), axis=0)
        return values[cut : sites - cut].mean(axis=0)


class KrumStep(_CountingAlike):
    """The update nearest to its neighbours: that with the least sum of squared distances to its n - f - 2 nearest,
    f being the sites that may lie.

    Distances are between differences from the current model, in float64: between float32 weights that differ little
    an expanded square has no digits left. Of updates with the same score the first site's is taken, as in the paper;
    Flower leaves that to NumPy's unstable sort.
    """

    def __init__(self, parameters: Any, federation: FederationConfig) -> None:
        super().__init__(parameters, federation)
        self.minimum = 2 * parameters.malicious + 3

    def selected(self) -> int:
        """How many updates are averaged."""
        return 1

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        current = progress.models[0]
        square = sum(_squared_distances(now, [u.arrays[name] for u in self.updates]) for name, now in current.items())
        nearest = max(1, len(self.updates) - self.parameters.malicious - 2)
        scores = np.sort(square, axis=1)[:, 1 : nearest + 1].sum(axis=1)  # the first is its own, 0
        best = [self.updates[i] for i in np.argsort(scores, kind="stable")[: self.selected()]]
        progress.models[0] = {
            name: _moved_by_mean(now, [u.arrays[name] for u in best]) for name, now in current.items()
        }


class MultiKrumStep(KrumStep):
    """The mean of the updates that Krum likes best."""

    def selected(self) -> int:
        """See `KrumStep`."""
        return self.parameters.selected or len(self.updates) - self.parameters.malicious


class ClippedMean(_CountingAlike):
    """The mean of updates, each at most as long as a bound."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        current = progress.models[0]
        norms = [named.norm(update.arrays, current) for update in self.updates]
        bound = self.parameters.norm or float(np.median(norms))
        mean = RunningMean()
        for update, norm in zip(self.updates, norms, strict=True):
            share = np.float32(min(1.0, bound / norm) if norm > 0 else 1.0)
            mean.add({name: share * (update.arrays[name] - now) for name, now in current.items()}, 1.0)
        progress.models[0] = {name: now + mean.arrays[name] for name, now in current.items()}


def _squared_distances(now: np.ndarray, after: Sequence[np.ndarray]) -> np.ndarray:
    """Between all pairs of ``after``, of shape (sites, sites); the diagonal is exactly 0."""
    moved = np.subtract(np.stack(after), now, dtype=np.float64).reshape(len(after), -1)
    products = moved @ moved.T
    norms = products.diagonal()
    return np.maximum(norms[:, None] + norms - 2 * products, 0)


def _moved_by_mean(now: np.ndarray, after: Sequence[np.ndarray]) -> np.ndarray:
    """``now`` and the mean difference from it, in float64; the order decides the last bit."""
    step = sum((array.astype(np.float64) - now) * (1 / len(after)) for array in after)
    return (now + step).astype(now.dtype)
