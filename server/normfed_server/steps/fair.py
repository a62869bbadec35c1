"""q-FedAvg: sites with a high loss weigh more (Li 2020, arXiv 1905.10497).

With F_i the loss of the received model at site i and g_i = L (w - w_i):

    w -= sum_i F_i^q g_i / sum_i (q F_i^(q-1) ||g_i||^2 + L F_i^q)

L = 1 / rate makes g_i the gradient that SGD followed. Adam's steps are as long whatever the gradient is: with 1 / rate
||g_i|| is that of no gradient, and the model hardly moves; there the update itself is taken, L = 1.

Sites count alike, whatever their people. Flower's QFedAvg, which holds all replies, is the oracle.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Step, Update
from normfed_server.steps.progress import Progress

LEAST_LOSS = 1e-10  # F^(q-1) of a loss of nothing


class Fair(Step):
    """See the module."""

    claims = frozenset({"received_loss"})

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        self.current, self.sums, self.divisor = progress.models[0], Arrays(), 0.0

    def weight(self, update: Update) -> float:
        """F^q."""
        return float(_loss(update) ** self.parameters.q)

    def reweighted(self, update: Update, weight: float) -> Update:
        """As if the loss were another; with q = 0 all losses weigh alike."""
        q = self.parameters.q
        return replace(update, received_loss=weight ** (1 / q)) if q else update

    def add(self, update: Update) -> None:
        """See `Step`."""
        q, smoothness = self.parameters.q, self._smoothness()
        loss = _loss(update)
        square = 0.0
        for name, now in self.current.items():
            gradient = smoothness * (now - update.arrays[name])
            square += float(np.square(gradient, dtype=np.float64).sum())
            weighted = np.float32(loss**q) * gradient
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
        self.divisor += q * loss ** (q - 1) * square + smoothness * loss**q

    def _smoothness(self) -> float:
        if self.parameters.smoothness is not None:
            return float(self.parameters.smoothness)
        return 1 / self.federation.learning_rate if self.federation.optimiser == "sgd" else 1.0

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        divisor = np.float32(self.divisor)
        progress.models[0] = {name: now - self.sums[name] / divisor for name, now in self.current.items()}


def _loss(update: Update) -> float:
    return max(update.received_loss or 0.0, LEAST_LOSS)
