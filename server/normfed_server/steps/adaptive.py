"""Server optimisers over the mean: FedAvgM (Hsu 2019), FedAdam, FedYogi, FedAdagrad (Reddi 2021, arXiv 2003.00295).

With D = mean_i(w_i) - w, FedAvgM takes m = momentum m - D,  w -= rate m, and the others
m = b1 m + (1 - b1) D,  w += rate m / (sqrt(v) + tau) with

    Adam     v = b2 v + (1 - b2) D^2
    Yogi     v = v - (1 - b2) D^2 sign(v - D^2)
    Adagrad  v = v + D^2, b1 = 0

The paper counts sites alike and starts v at tau^2 or more; here sites weigh by their people, as in FedAvg, and v starts
at 0, as in Flower: tau alone bounds the first step. Flower's FedAvgM, FedYogi and FedAdagrad are the oracles, to the
last bit. Its FedAdam is not: it multiplies the rate by Adam's bias correction, one step off, which the paper does not
have.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.mean import Mean
from normfed_server.steps.progress import Progress


class Momentum(Mean):
    """FedAvgM; with neither momentum nor a rate the mean itself, so that FedAvg is met to the last bit."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        momentum, rate = self.parameters.momentum, self.parameters.server_learning_rate
        if momentum == 0 and rate == 1:
            super().end(progress)
            return
        memory, after = progress.memory, Arrays()
        for name, now in progress.models[0].items():
            gradient = now - self.mean.arrays[name]
            if momentum:
                gradient = momentum * memory[name] + gradient if name in memory else gradient
                memory[name] = gradient
            after[name] = now - rate * gradient
        progress.models[0] = after


class _Adaptive(Mean):
    """A step as long as the differences of the past were large: ``m/NAME`` and ``v/NAME`` are remembered."""

    @property
    def beta_1(self) -> float:
        """How much of m stays."""
        return float(self.parameters.beta_1)

    @abstractmethod
    def second_moment(self, before: np.ndarray, square: np.ndarray) -> np.ndarray:
        """v, of that before and D^2."""

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        p, memory, after = self.parameters, progress.memory, Arrays()
        for name, now in progress.models[0].items():
            difference, zero = self.mean.arrays[name] - now, np.zeros_like(now)
            m = self.beta_1 * memory.get(f"m/{name}", zero) + (1 - self.beta_1) * difference
            v = self.second_moment(memory.get(f"v/{name}", zero), difference**2)
            after[name] = now + p.server_learning_rate * m / (np.sqrt(v) + p.tau)
            memory[f"m/{name}"], memory[f"v/{name}"] = m, v
        progress.models[0] = after


class Adam(_Adaptive):
    """FedAdam."""

    def second_moment(self, before: np.ndarray, square: np.ndarray) -> np.ndarray:
        """See `_Adaptive`."""
        return self.parameters.beta_2 * before + (1 - self.parameters.beta_2) * square


class Yogi(_Adaptive):
    """FedYogi."""

    def second_moment(self, before: np.ndarray, square: np.ndarray) -> np.ndarray:
        """See `_Adaptive`."""
        return before - (1 - self.parameters.beta_2) * square * np.sign(before - square)


class Adagrad(_Adaptive):
    """FedAdagrad."""

    beta_1 = 0.0

    def second_moment(self, before: np.ndarray, square: np.ndarray) -> np.ndarray:
        """See `_Adaptive`."""
        return before + square
