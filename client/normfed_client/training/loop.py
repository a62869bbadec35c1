"""The one training loop: local epochs, whatever the model and the algorithm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.corrections import Correction
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.cohort import Cohort
from normfed_common.models.base import NormativeModel


@dataclass(frozen=True)
class Progress:
    """What training tells beside the weights: mean loss per sample, samples seen, steps of the optimiser."""

    loss: float
    samples: int
    steps: int


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    seed, site, round
        Where the order of batches and all randomness of a step come from: a round depends on nothing but these, its
        start and the site's data.
    most_steps
        Where to stop early: a canary trains one batch.
    checkpoints
        Where to go on from after a crash.
    """

    seed: int
    site: str
    round: int
    epochs: int
    learning_rate: float
    optimiser: Literal["adam", "sgd"] = "adam"
    most_steps: int | None = None
    checkpoints: TrainingCheckpoints | None = None


def train(
    model: NormativeModel,
    cohort: Cohort,
    settings: Settings,
    correction: Correction | None = None,
    only: Sequence[torch.nn.Parameter] | None = None,
) -> Progress:
    """Train the model's network in place; the optimiser begins anew.

    Parameters
    ----------
    correction
        What the algorithm adds to every step.
    only
        The parameters to train; all when absent.

    Raises
    ------
    SiteError
        If the loss is not finite.
    """
    network = _network(model)
    network.train()
    cuda = model.setting.device.type == "cuda"
    trained = list(network.parameters() if only is None else only)
    optimiser = _optimiser(settings, trained)
    scaler = torch.amp.GradScaler("cuda", enabled=cuda)
    total = torch.zeros((), dtype=torch.float64, device=model.setting.device)
    samples = steps = 0
    checkpoint = settings.checkpoints.next() if settings.checkpoints is not None else None
    done = checkpoint.load(network, optimiser) if checkpoint is not None else None
    if done is not None:
        total.fill_(done["total"])
        samples, steps = done["samples"], done["steps"]
        scaler.load_state_dict(done["scaler"])
    for batch in itertools.islice(_batches(model, cohort, settings), steps, settings.most_steps):
        for number, generator in enumerate(model.generators):
            generator.manual_seed(seeds.derive(settings.seed, "step", settings.site, settings.round, steps, number))
        network.zero_grad(set_to_none=True)
        with torch.autocast("cuda", enabled=cuda):
            loss = model.loss(batch)
        scaler.scale(loss).backward()
        if correction is not None:
            scaler.unscale_(optimiser)
            correction.gradients(trained)
        scaler.step(optimiser)
        scaler.update()
        if correction is not None:
            correction.parameters(trained)
        total.add_(loss.detach(), alpha=len(batch))
        samples += len(batch)
        steps += 1
        if checkpoint is not None and checkpoint.due():
            done = {"total": float(total), "samples": samples, "steps": steps, "scaler": scaler.state_dict()}
            checkpoint.save(network, optimiser, done)
    return Progress(_mean(total, samples, settings.round), samples, steps)


def _batches(model: NormativeModel, cohort: Cohort, settings: Settings) -> Iterator[Any]:
    """All batches of a round, epoch after epoch; those before a checkpoint are drawn again and not used."""
    for epoch in range(settings.epochs):
        rng = seeds.generator(settings.seed, "training", settings.site, settings.round, epoch)
        yield from model.batches(cohort, rng)


@torch.inference_mode()
def mean_loss(model: NormativeModel, cohort: Cohort, settings: Settings) -> float:
    """The loss of the model as it is, over one epoch of the round's batches.

    Raises
    ------
    SiteError
        If it is not finite.
    """
    network = _network(model)
    network.eval()
    total = torch.zeros((), dtype=torch.float64, device=model.setting.device)
    samples = 0
    rng = seeds.generator(settings.seed, "training", settings.site, settings.round, 0)
    for batch in model.batches(cohort, rng):
        with torch.autocast("cuda", enabled=model.setting.device.type == "cuda"):
            total.add_(model.loss(batch), alpha=len(batch))
        samples += len(batch)
    return _mean(total, samples, settings.round)


def _network(model: NormativeModel) -> torch.nn.Module:
    if model.network is None:
        raise TypeError("the model has no network to train")
    return model.network


def _optimiser(settings: Settings, trained: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.SGD
    return kind(trained, lr=settings.learning_rate, fused=True)


def _mean(total: torch.Tensor, samples: int, round: int) -> float:
    mean = float(total) / samples if samples else math.nan
    if not math.isfinite(mean):
        raise SiteError(SiteCode.NOT_FINITE, f"round {round}: mean loss {mean} over {samples} samples")
    return mean
