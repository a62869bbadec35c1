"""Steps that some sites may lie to: their people are not counted, since a liar would claim many.

Coordinate-wise median and trimmed mean (Yin 2018, arXiv 1803.01498), Krum and Multi-Krum (Blanchard 2017, arXiv
1703.02757): Flower's arithmetic. Norm clipping (Sun 2019, arXiv 1911.07963): ours.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum

from normfed_common.foundation import arrays as named
from normfed_common.study.federation import FederationConfig
from normfed_server.steps.base import Gathering, Update
from normfed_server.steps.flower import WEIGHT, aggregate
from normfed_server.steps.mean import RunningMean
from normfed_server.steps.progress import Progress


class _CountingAlike(Gathering):
    """Every update counts alike, whatever its site says."""

    def weight(self, update: Update) -> float:
        """See `Step`."""
        return 1.0


class _ByCoordinate(_CountingAlike):
    """Each array on its own, so that only one array of all sites is copied at a time."""

    @abstractmethod
    def make(self) -> FedAvg:
        """Flower's strategy."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        flower = self.make()
        progress.models[0] = {
            name: aggregate(flower, [(1.0, {name: update.arrays[name]}) for update in self.updates])[name]
            for name in progress.models[0]
        }


class Median(_ByCoordinate):
    """The median of every coordinate."""

    def make(self) -> FedMedian:
        """Flower's."""
        return FedMedian(weighted_by_key=WEIGHT)


class TrimmedMean(_ByCoordinate):
    """The mean of every coordinate without its extremes."""

    def make(self) -> FedTrimmedAvg:
        """Flower's."""
        return FedTrimmedAvg(weighted_by_key=WEIGHT, beta=self.parameters.beta)


class KrumStep(_CountingAlike):
    """The update nearest to its neighbours.

    Flower expands squared distances, which loses all digits between float32 weights that differ little: it is given
    differences from the current model, in float64.
    """

    def __init__(self, parameters: Any, federation: FederationConfig) -> None:
        super().__init__(parameters, federation)
        self.minimum = 2 * parameters.malicious + 3

    def make(self) -> Krum | MultiKrum:
        """Flower's."""
        return Krum(weighted_by_key=WEIGHT, num_malicious_nodes=self.parameters.malicious)

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        current = progress.models[0]
        moved = [(1.0, {n: u.arrays[n].astype(np.float64) - now for n, now in current.items()}) for u in self.updates]
        step = aggregate(self.make(), moved)
        progress.models[0] = {name: (now + step[name]).astype(now.dtype) for name, now in current.items()}


class MultiKrumStep(KrumStep):
    """The mean of the updates that Krum likes best."""

    def make(self) -> MultiKrum:
        """Flower's."""
        malicious = self.parameters.malicious
        selected = min(self.parameters.selected or len(self.updates) - malicious, len(self.updates))
        return MultiKrum(weighted_by_key=WEIGHT, num_malicious_nodes=malicious, num_nodes_to_select=selected)


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
