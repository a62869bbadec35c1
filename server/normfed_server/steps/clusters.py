"""More than one global model: IFCA (Ghosh 2020, arXiv 2006.04088), CFL (Sattler 2020, arXiv 1910.01991), and clusters
known before (Manthe 2024, Medical Image Analysis 97:103270).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Gathering, Step, Update
from normfed_server.steps.mean import RunningMean
from normfed_server.steps.progress import Progress

LARGEST = "largest update"


class BestOfClusters(Step):
    """IFCA: k models from different first weights; each is the mean of the sites that chose it."""

    def prepare(self, progress: Progress, another: Callable[[int], Arrays]) -> None:
        """See `Step`."""
        progress.models += [another(number) for number in range(1, self.parameters.clusters)]

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        self.means = [RunningMean() for _ in progress.models]
        self.chosen: dict[str, int] = {}

    def add(self, update: Update) -> None:
        """See `Step`."""
        self.means[update.cluster].add(update.arrays, update.people)
        self.chosen[update.site] = update.cluster

    def end(self, progress: Progress) -> None:
        """See `Step`; a model that nobody chose stays."""
        progress.models = [m.arrays or old for m, old in zip(self.means, progress.models, strict=True)]
        progress.clusters.update(self.chosen)


class PriorClusters(Step):
    """One model for all up to ``from_round``, then one per cluster that starts from it; sites of no cluster stay
    together."""

    def named_sites(self) -> frozenset[str]:
        """See `Step`."""
        return frozenset(site for members in self.parameters.clusters.values() for site in members)

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        start = self.parameters.from_round or self.federation.rounds // 2 + 1
        if progress.round + 1 >= start and not progress.clusters:
            groups = list(self.parameters.clusters.values())
            rest = [site for site in asked if site not in self.named_sites()]
            groups = [group for group in [*groups, tuple(rest)] if group]
            progress.clusters = {site: number for number, group in enumerate(groups) for site in group}
            progress.models = [progress.models[0]] * len(groups)
        self.clusters = progress.clusters
        self.means = [RunningMean() for _ in progress.models]

    def add(self, update: Update) -> None:
        """See `Step`."""
        self.means[self.clusters.get(update.site, 0)].add(update.arrays, update.people)

    def end(self, progress: Progress) -> None:
        """See `Step`; a cluster nobody of which answered keeps its model."""
        progress.models = [m.arrays or old for m, old in zip(self.means, progress.models, strict=True)]


class SplittingClusters(Gathering):
    """CFL: FedAvg in every cluster; one whose mean update is small while single updates are large is at a stationary
    point of the mean that suits nobody, and is split in two by the cosines between updates (complete linkage).

    Small is meant against the largest update of the cluster, large against the largest update of the whole run: the
    paper's two thresholds are absolute, and would have to be found anew for every model.
    """

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        current = list(progress.models)
        largest = max(named.norm(u.arrays, current[progress.clusters.get(u.site, 0)]) for u in self.updates)
        before = progress.memory.get(LARGEST, np.zeros(()))
        progress.memory[LARGEST] = np.maximum(before, largest)
        for number, model in enumerate(current):
            members = [u for u in self.updates if progress.clusters.get(u.site, 0) == number]
            if not members:
                continue
            progress.clusters.update({update.site: number for update in members})
            halves = self._halves(members, model, progress) if self._may_split(progress, members) else [members]
            progress.models[number] = _mean(halves[0])
            for half in halves[1:]:
                progress.models.append(_mean(half))
                progress.clusters.update({update.site: len(progress.models) - 1 for update in half})

    def _may_split(self, progress: Progress, members: list[Update]) -> bool:
        start = self.parameters.from_round or self.federation.rounds // 2 + 1
        return progress.round + 1 >= start and len(members) > 1

    def _halves(self, members: list[Update], model: Arrays, progress: Progress) -> list[list[Update]]:
        flat = np.stack(
            [np.concatenate([(u.arrays[n] - a).ravel() for n, a in model.items()]).astype(np.float64) for u in members]
        )
        norms = np.linalg.norm(flat, axis=1)
        people = np.array([update.people for update in members], float)
        mean = np.linalg.norm(people @ flat / people.sum())
        apart = norms.max() >= self.parameters.disagreement * float(progress.memory[LARGEST])
        if norms.min() == 0 or not apart or mean >= self.parameters.standstill * norms.max():
            return [members]
        cosine = (flat @ flat.T) / np.outer(norms, norms)
        from sklearn.cluster import AgglomerativeClustering  # a second of imports, for this step alone

        tree = AgglomerativeClustering(n_clusters=2, metric="precomputed", linkage="complete")
        label = tree.fit_predict(1 - np.clip(cosine, -1, 1))
        return [
            [u for u, side in zip(members, label, strict=True) if side == half] for half in (label[0], 1 - label[0])
        ]


def _mean(updates: list[Update]) -> Arrays:
    mean = RunningMean()
    for update in updates:
        mean.add(update.arrays, update.people)
    return mean.arrays
