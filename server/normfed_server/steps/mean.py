"""Federated averaging: w = sum_i n_i / n w_i, n_i a site's training people (McMahan 2017, arXiv 1602.05629).

Updates are added as they come, so memory does not grow with the sites; sites come in the order of their names, so that
the sum has the same last bit on every engine. Flower's FedAvg, which holds all replies, is the oracle.
"""

from __future__ import annotations

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Step, Update
from normfed_server.steps.progress import Progress


class RunningMean:
    """A weighted mean that takes one more at a time: m += weight / total (w - m)."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.arrays: Arrays = {}

    def add(self, arrays: Arrays, weight: float) -> None:
        """Take one more; the first is kept, not copied, and changed by the next."""
        self.weight += weight
        if not self.arrays:
            self.arrays = {name: _own(array) for name, array in arrays.items()}
            return
        share = np.float32(weight / self.weight)
        for name, mean in self.arrays.items():
            difference = arrays[name] - mean
            difference *= share
            mean += difference


def _own(array: np.ndarray) -> np.ndarray:
    """The same array where it may be changed, else a copy: also of the scalar that arithmetic makes of no dimension."""
    taken = np.asarray(array)
    return taken if taken.flags.writeable and taken.flags.owndata else taken.copy()


class Mean(Step):
    """See the module."""

    linear = True

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        self.mean = RunningMean()

    def add(self, update: Update) -> None:
        """See `Step`."""
        self.mean.add(update.arrays, update.people)

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        progress.models[0] = self.mean.arrays
