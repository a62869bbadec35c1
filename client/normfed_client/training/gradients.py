"""What a step of training learns from, and how its gradients are made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch

from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort

Scaled = Callable[[torch.Tensor], torch.Tensor]
"""Losses as they go into a backward pass: in fp16 times a factor, by which gradients are divided afterwards."""

Step = Callable[[Sequence[torch.nn.Parameter], Scaled], None]
"""Leaves a gradient in every parameter that is trained."""


class Draws(Protocol):
    """What a training draws from people, and what the model says of it."""

    @property
    def start(self) -> str:
        """A digest of all that the model had learnt when the training began."""
        ...

    @property
    def people_per_sample(self) -> int:
        """Of how many people a sample is made at most."""
        ...

    def most_samples(self, scans: int) -> int:
        """Of an epoch over so many scans."""
        ...

    def epoch(self, cohort: Cohort, number: int) -> Iterator[Batch]:
        """The batches of an epoch over everybody, as the study's seed says."""
        ...

    def batches(self, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of an epoch over any cohort, on the training's device."""
        ...

    def loss(self, batch: Batch, *place: int) -> torch.Tensor:
        """Of every sample, (n,); what the model draws for it depends on its place in the training alone."""
        ...


class GradientRule(Protocol):
    """Which steps a training takes, and how the gradients of each are made; the optimiser makes the step itself."""

    @property
    def tells_loss(self) -> bool:
        """Whether anything may be told of the losses of the people trained on."""
        ...

    def passes(self, epochs: int) -> int:
        """How often a training of so many epochs goes through everybody, rounded up: hospitals bound it."""
        ...

    def divided(self, epochs: Sequence[int]) -> Sequence[GradientRule]:
        """The rules of several trainings of so many epochs each, which are one round together."""
        ...

    def steps(self, draws: Draws, cohort: Cohort, epochs: int) -> Iterator[Step]:
        """The steps of a training; a step that is passed over, since it was taken before a crash, computes nothing.

        Is called before anything of the training is done.
        """
        ...


class Plain:
    """A step per batch, over everybody: the gradient of the mean loss."""

    tells_loss = True

    def passes(self, epochs: int) -> int:
        """Every epoch is one."""
        return epochs

    def divided(self, epochs: Sequence[int]) -> Sequence[Plain]:
        """This one for each."""
        return [self for _ in epochs]

    def steps(self, draws: Draws, cohort: Cohort, epochs: int) -> Iterator[Step]:
        """All batches of all epochs; those before a checkpoint are drawn again and not used."""
        numbers = itertools.count()
        for epoch in range(epochs):
            for batch in draws.epoch(cohort, epoch):
                yield partial(self._step, draws, batch, next(numbers))

    def _step(
        self, draws: Draws, batch: Batch, number: int, parameters: Sequence[torch.nn.Parameter], scaled: Scaled
    ) -> None:
        """d mean(loss) / d w."""
        torch.autograd.backward(scaled(draws.loss(batch, number, 0)).mean(), inputs=list(parameters))
