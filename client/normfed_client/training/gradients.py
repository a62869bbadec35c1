"""Whose gradients a step may use, and how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort


class GradientRule(Protocol):
    """Between the losses of a step's samples and the gradients that the optimiser sees."""

    def sample(self, cohort: Cohort, rng: np.random.Generator) -> Cohort:
        """Whom an epoch learns from."""
        ...

    def backward(
        self, loss: torch.Tensor, batch: Batch, parameters: Sequence[torch.nn.Parameter], scale: float | torch.Tensor
    ) -> None:
        """Leave a gradient in every parameter that the step trains.

        Parameters
        ----------
        loss
            Of every sample, (n,), times ``scale``.
        batch
            What the losses are of, and who touches each sample.
        scale
            In fp16 the scaler's factor, a scalar on the device; 1 otherwise. What is left in the parameters is divided
            by it afterwards: a norm to clip at, or noise, is multiplied by it here.
        """
        ...

    def state(self) -> dict[str, Any]:
        """What of the rule a training changes, such as where its noise is drawn from, as JSON; for a checkpoint."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Undo `state`."""
        ...


class Plain:
    """The gradient of the mean loss, over everybody."""

    def sample(self, cohort: Cohort, rng: np.random.Generator) -> Cohort:
        """Everybody."""
        return cohort

    def backward(
        self, loss: torch.Tensor, batch: Batch, parameters: Sequence[torch.nn.Parameter], scale: float | torch.Tensor
    ) -> None:
        """d mean(loss) / d w."""
        torch.autograd.backward(loss.mean(), inputs=list(parameters))

    def state(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Nothing."""
