"""Whose gradients a step may use, and how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort


class GradientRule(Protocol):
    """Between the losses of a step's samples and the gradients that the optimiser sees."""

    def sample(self, cohort: Cohort, rng: np.random.Generator) -> Cohort:
        """Whom an epoch learns from."""
        ...

    def backward(self, loss: torch.Tensor, batch: Batch, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Leave a gradient in every parameter that the step trains.

        Parameters
        ----------
        loss
            Of every sample, (n,); in fp16 multiplied by the scaler's factor, by which gradients are divided afterwards.
        batch
            What the losses are of, and who touches each sample.
        """
        ...


class Plain:
    """The gradient of the mean loss, over everybody."""

    def sample(self, cohort: Cohort, rng: np.random.Generator) -> Cohort:
        """Everybody."""
        return cohort

    def backward(self, loss: torch.Tensor, batch: Batch, parameters: Sequence[torch.nn.Parameter]) -> None:
        """d mean(loss) / d w."""
        torch.autograd.backward(loss.mean(), inputs=list(parameters))
