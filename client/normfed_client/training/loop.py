"""The one training loop: local epochs, whatever the model and the algorithm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.corrections import Correction
from normfed_client.training.gradients import GradientRule, Plain
from normfed_client.training.scaling import Scaler
from normfed_common.foundation import digests, seeds
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import NETWORK, Learner
from normfed_common.learning.phase import Phase


@dataclass(frozen=True)
class TrainingFigures:
    """What training tells beside the weights: mean loss per sample and samples seen, None and 0 where the rule tells
    nothing of people; steps of the optimiser."""

    loss: float | None
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
    most_steps
        Where to stop early: a canary takes one.
    most_epochs
        That a hospital allows, whatever an objective makes of ``epochs``.
    rule
        Which steps there are, and how their gradients are made.
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
    most_steps: int | None = None
    most_epochs: int | None = None
    rule: GradientRule = field(default_factory=Plain)
    checkpoints: TrainingCheckpoints | None = None


def train(
    learner: Learner,
    cohort: Cohort,
    settings: Settings,
    correction: Correction | None = None,
    only: Sequence[torch.nn.Parameter] | None = None,
) -> TrainingFigures:
    """Train the phase's part of the network in place, the rest in evaluation mode; the optimiser begins anew.

    Parameters
    ----------
    correction
        What the algorithm adds to every step.
    only
        The parameters to train; those of the phase when absent.

    Raises
    ------
    SiteError
        If the loss is not finite, no step's gradients are, there are more epochs than the hospital allows, or more
        samples in one than the learner claims.
    TypeError
        If what the learner yields is no batch, or the loss is not one per sample.
    """
    passes = settings.rule.passes(settings.epochs)
    if settings.most_epochs is not None and passes > settings.most_epochs:
        detail = f"most_epochs: a training of {passes:,} epochs, site.yaml allows {settings.most_epochs:,}"
        raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
    network = network_of(learner)
    _set_modes(network, learner.arrays_of(settings.phase))
    trained = list(dict(trained_parameters(learner, settings.phase)).values() if only is None else only)
    optimiser = _optimiser(settings, trained)
    scaler = Scaler(learner.setting, optimiser)
    draws = _Draws(learner, settings)
    made = itertools.islice(settings.rule.steps(draws, cohort, settings.epochs), settings.most_steps)
    batches = steps = 0
    checkpoint = settings.checkpoints.next() if settings.checkpoints is not None else None
    done = checkpoint.load(network, optimiser) if checkpoint is not None else None
    if done is not None:
        draws.losses.load(done["losses"])
        batches, steps = done["batches"], done["steps"]
        scaler.load(done["scaler"])
        for _ in itertools.islice(made, batches):
            pass
    for step in made:
        network.zero_grad(set_to_none=True)
        step(trained, scaler.scaled)
        scaler.whole()
        if correction is not None:
            correction.gradients(trained)
        if scaler.step():
            steps += 1
            if correction is not None:
                correction.parameters(trained)
        batches += 1
        if checkpoint is not None and checkpoint.due():
            progress = {"losses": draws.losses.state(), "batches": batches, "steps": steps, "scaler": scaler.state()}
            checkpoint.save(network, optimiser, progress)
    mean = draws.losses.mean(settings.round) if settings.rule.tells_loss else None
    if batches and not steps:
        raise SiteError(SiteCode.NOT_FINITE, f"round {settings.round}: the gradients of every step overflowed in fp16")
    return TrainingFigures(mean, draws.losses.samples, steps)


@torch.no_grad()  # not inference_mode: a learner may keep a tensor that it makes here, and train with it
def mean_loss(learner: Learner, cohort: Cohort, settings: Settings) -> float:
    """The loss of the model as it is, over one epoch of the round's batches, with the draws of its first steps.

    Raises
    ------
    SiteError, TypeError
        As `train` does.
    """
    network_of(learner).eval()
    draws = _Draws(learner, settings)
    for number, batch in enumerate(draws.epoch(cohort, 0)):
        draws.loss(batch, number, 0)
    return draws.losses.mean(settings.round)


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


class _Draws:
    """What a rule is given of a training, see `Draws`."""

    def __init__(self, learner: Learner, settings: Settings) -> None:
        self._learner, self._settings, self._phase = learner, settings, settings.phase.name
        self._rng = torch.Generator()
        self.losses = _Losses(learner)

    @cached_property
    def start(self) -> str:
        return digests.of_arrays(self._phase, self._learner.share())

    @property
    def people_per_sample(self) -> int:
        return self._learner.people_per_sample(self._phase)

    def most_samples(self, scans: int) -> int:
        return self._learner.most_samples(self._phase, scans)

    def epoch(self, cohort: Cohort, number: int) -> Iterator[Batch]:
        settings = self._settings
        rng = seeds.generator(settings.seed, "training", settings.site, settings.round, number)
        return self.batches(cohort, rng)

    def batches(self, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        samples, most = 0, self.most_samples(len(cohort))
        for batch in self._learner.batches(self._phase, cohort, rng):
            if not isinstance(batch, Batch):
                raise TypeError(
                    f"{self._named} yields a {type(batch).__name__} in the phase {self._phase}; it must be a Batch"
                )
            samples += len(batch)
            if samples > most:
                # A site allows a study by what its models say of themselves.
                raise SiteError(
                    SiteCode.TOO_MUCH_ASKED,
                    f"samples_per_person: {self._named} drew {samples:,} samples in an epoch of the phase "
                    f"{self._phase}, and claims {most:,} at most of {len(cohort)} scans",
                )
            yield batch.to(self._learner.setting.device)

    def loss(self, batch: Batch, *place: int) -> torch.Tensor:
        settings = self._settings
        self._rng.manual_seed(seeds.derive(settings.seed, "step", settings.site, settings.round, *place))
        with self._learner.setting.autocast():
            loss = self._learner.loss(self._phase, batch, self._rng)
        if loss.shape != (len(batch),):
            raise TypeError(
                f"the loss of {self._named} in the phase {self._phase} has shape {tuple(loss.shape)}; it must be one "
                f"number per sample, ({len(batch)},)"
            )
        if self._settings.rule.tells_loss:
            self.losses.add(loss)
        return loss

    @property
    def _named(self) -> str:
        return type(self._learner.whose(self._phase)).__name__


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


def _set_modes(network: torch.nn.Module, trained: frozenset[str]) -> None:
    """Training mode for what holds an array of these names, evaluation mode for the rest.

    A module without arrays, such as a dropout, does as the module around it.
    """
    ids = {id(tensor) for name, tensor in network.state_dict(keep_vars=True).items() if NETWORK + name in trained}

    def within(module: torch.nn.Module, mode: bool) -> None:
        for child in module.children():
            own = [tensor for tensor in child.state_dict(keep_vars=True).values() if tensor.is_floating_point()]
            its = any(id(tensor) in ids for tensor in own) if own else mode
            if its is not mode:
                child.train(its)
            within(child, its)

    network.train()
    within(network, True)


def _optimiser(settings: Settings, trained: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.SGD
    return kind(trained, lr=settings.learning_rate, fused=True)
