"""Server optimisers over the mean: FedAvgM (Hsu 2019), FedAdam, FedYogi, FedAdagrad (Reddi 2021, arXiv 2003.00295).

With D = mean_i(w_i) - w:  m = b1 m + (1 - b1) D,  w += rate m / (sqrt(v) + tau), and

    Adam     v = b2 v + (1 - b2) D^2
    Yogi     v = v - (1 - b2) D^2 sign(v - D^2)
    Adagrad  v = v + D^2, b1 = 0

FedAvgM, Yogi and Adagrad are Flower's. Its FedAdam multiplies the rate by Adam's bias correction, one step off, which
the paper does not have: Adam is done here.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAdagrad, FedAvgM, FedYogi

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.flower import WEIGHT, aggregate
from normfed_server.steps.mean import Mean
from normfed_server.steps.progress import Progress


class Momentum(Mean):
    """FedAvgM."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        current = progress.models[0]
        flower = FedAvgM(
            weighted_by_key=WEIGHT,
            server_learning_rate=self.parameters.server_learning_rate,
            server_momentum=self.parameters.momentum,
        )
        flower.current_arrays = ArrayRecord({name: Array(array) for name, array in current.items()})
        if progress.memory:
            flower.momentum_vector = [progress.memory[name] for name in current]
        progress.models[0] = aggregate(flower, [(1.0, {name: self.mean.arrays[name] for name in current})])
        if flower.momentum_vector is not None:
            progress.memory = dict(zip(current, flower.momentum_vector, strict=True))


class Adam(Mean):
    """FedAdam."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        p, models, memory = self.parameters, progress.models, progress.memory
        after: Arrays = {}
        for name, now in models[0].items():
            difference = self.mean.arrays[name] - now
            m = p.beta_1 * memory.get(f"m/{name}", np.zeros_like(now)) + (1 - p.beta_1) * difference
            v = p.beta_2 * memory.get(f"v/{name}", np.zeros_like(now)) + (1 - p.beta_2) * difference**2
            after[name] = now + p.server_learning_rate * m / (np.sqrt(v) + p.tau)
            memory[f"m/{name}"], memory[f"v/{name}"] = m, v
        models[0] = after


class _FlowersOptimiser(Mean):
    """A server optimiser of Flower's that keeps m and v."""

    @abstractmethod
    def make(self) -> Any:
        """Flower's strategy."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        flower, memory = self.make(), progress.memory
        flower.current_arrays = progress.models[0]
        flower.m_t = {n.removeprefix("m/"): a for n, a in memory.items() if n.startswith("m/")} or None
        flower.v_t = {n.removeprefix("v/"): a for n, a in memory.items() if n.startswith("v/")} or None
        progress.models[0] = aggregate(flower, [(1.0, self.mean.arrays)])
        progress.memory = {f"m/{n}": a for n, a in flower.m_t.items()} | {f"v/{n}": a for n, a in flower.v_t.items()}


class Yogi(_FlowersOptimiser):
    """FedYogi."""

    def make(self) -> FedYogi:
        """Flower's."""
        p = self.parameters
        return FedYogi(weighted_by_key=WEIGHT, eta=p.server_learning_rate, beta_1=p.beta_1, beta_2=p.beta_2, tau=p.tau)


class Adagrad(_FlowersOptimiser):
    """FedAdagrad."""

    def make(self) -> FedAdagrad:
        """Flower's."""
        return FedAdagrad(weighted_by_key=WEIGHT, eta=self.parameters.server_learning_rate, tau=self.parameters.tau)
