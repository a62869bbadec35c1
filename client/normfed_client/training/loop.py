"""The one training loop: local epochs, whatever the model and the algorithm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.corrections import Correction
from normfed_client.training.gradients import GradientRule, Plain
from normfed_client.training.scaling import Scaler
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import NETWORK, Learner
from normfed_common.learning.phase import Phase


@dataclass(frozen=True)
class TrainingFigures:
    """What training tells beside the weights: mean loss per sample, samples seen, steps of the optimiser."""

    loss: float
    samples: int
    steps: int


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    phase
        What of the learner is trained.
    seed, site, round
        Where the order of batches and all randomness of a step come from: a round depends on nothing but these, its
        start and the site's data.
    most_batches
        Where to stop early: a canary trains one batch.
    rule
        How gradients are made.
    checkpoints
        Where to go on from after a crash.
    """

    phase: Phase
    seed: int
    site: str
    round: int
    epochs: int
    learning_rate: float
    optimiser: Literal["adam", "sgd"] = "adam"
    most_batches: int | None = None
    rule: GradientRule = field(default_factory=Plain)
    checkpoints: TrainingCheckpoints | None = None


def train(
    learner: Learner,
    cohort: Cohort,
    settings: Settings,
    correction: Correction | None = None,
    only: Sequence[torch.nn.Parameter] | None = None,
) -> TrainingFigures:
    """Train the phase's part of the network in place; the optimiser begins anew.

    Parameters
    ----------
    correction
        What the algorithm adds to every step.
    only
        The parameters to train; those of the phase when absent.

    Raises
    ------
    SiteError
        If the loss is not finite, or no step's gradients are.
    """
    network = network_of(learner)
    network.train()
    trained = list(dict(trained_parameters(learner, settings.phase)).values() if only is None else only)
    optimiser = _optimiser(settings, trained)
    scaler = Scaler(learner.setting, optimiser)
    losses = _Losses(learner)
    batches = steps = 0
    checkpoint = settings.checkpoints.next() if settings.checkpoints is not None else None
    done = checkpoint.load(network, optimiser) if checkpoint is not None else None
    if done is not None:
        losses.load(done["losses"])
        batches, steps = done["batches"], done["steps"]
        scaler.load(done["scaler"])
    rng = torch.Generator()
    for batch in itertools.islice(_batches(learner, cohort, settings), batches, settings.most_batches):
        rng.manual_seed(seeds.derive(settings.seed, "step", settings.site, settings.round, batches, 0))
        network.zero_grad(set_to_none=True)
        with learner.setting.autocast():
            loss = learner.loss(settings.phase.name, batch, rng)
        settings.rule.backward(scaler.scaled(loss), batch, trained)
        scaler.whole()
        if correction is not None:
            correction.gradients(trained)
        if scaler.step():
            steps += 1
            if correction is not None:
                correction.parameters(trained)
        losses.add(loss)
        batches += 1
        if checkpoint is not None and checkpoint.due():
            progress = {"losses": losses.state(), "batches": batches, "steps": steps, "scaler": scaler.state()}
            checkpoint.save(network, optimiser, progress)
    mean = losses.mean(settings.round)
    if not steps:
        raise SiteError(SiteCode.NOT_FINITE, f"round {settings.round}: the gradients of every step overflowed in fp16")
    return TrainingFigures(mean, losses.samples, steps)


@torch.inference_mode()
def mean_loss(learner: Learner, cohort: Cohort, settings: Settings) -> float:
    """The loss of the model as it is, over one epoch of the round's batches.

    Raises
    ------
    SiteError
        If it is not finite.
    """
    network_of(learner).eval()
    losses, rng = _Losses(learner), torch.Generator()
    for batch in _epoch(learner, cohort, settings, 0):
        with learner.setting.autocast():
            losses.add(learner.loss(settings.phase.name, batch, rng))
    return losses.mean(settings.round)


def trained_parameters(learner: Learner, phase: Phase) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters that a phase trains, under the names that they are shared by."""
    names = learner.arrays_of(phase)
    named = ((NETWORK + name, parameter) for name, parameter in network_of(learner).named_parameters())
    return [(name, parameter) for name, parameter in named if name in names]


def network_of(learner: Learner) -> torch.nn.Module:
    """What averaged phases train."""
    if learner.network is None:
        raise TypeError("the learner has no network to train")
    return learner.network


class _Losses:
    """Their sum over a training's samples, on the device: asking for it would make every step wait."""

    def __init__(self, learner: Learner) -> None:
        self._total = torch.zeros((), dtype=torch.float64, device=learner.setting.device)
        self.samples = 0

    def add(self, loss: torch.Tensor) -> None:
        self._total.add_(loss.detach().double().sum())
        self.samples += len(loss)

    def mean(self, round: int) -> float:
        mean = float(self._total) / self.samples if self.samples else math.nan
        if not math.isfinite(mean):
            raise SiteError(SiteCode.NOT_FINITE, f"round {round}: mean loss {mean} over {self.samples} samples")
        return mean

    def state(self) -> dict[str, float]:
        return {"total": float(self._total), "samples": self.samples}

    def load(self, state: dict[str, float]) -> None:
        self._total.fill_(state["total"])
        self.samples = int(state["samples"])


def _batches(learner: Learner, cohort: Cohort, settings: Settings) -> Iterator[Batch]:
    """All batches of a round, epoch after epoch; those before a checkpoint are drawn again and not used."""
    for epoch in range(settings.epochs):
        yield from _epoch(learner, cohort, settings, epoch)


def _epoch(learner: Learner, cohort: Cohort, settings: Settings, epoch: int) -> Iterator[Batch]:
    rng = seeds.generator(settings.seed, "training", settings.site, settings.round, epoch)
    for batch in learner.batches(settings.phase.name, settings.rule.sample(cohort, rng), rng):
        yield batch.to(learner.setting.device)


def _optimiser(settings: Settings, trained: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.SGD
    return kind(trained, lr=settings.learning_rate, fused=True)
