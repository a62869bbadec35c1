"""The one training loop: a round of local epochs, whatever the model and the algorithm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from normfed_common import seeds
from normfed_common.errors import SiteCode, SiteError
from normfed_common.models.base import Cohort, NormativeModel


@dataclass(frozen=True)
class Progress:
    """What a round tells beside the weights: mean loss per sample, samples seen."""

    loss: float
    samples: int


def train_round(
    model: NormativeModel, cohort: Cohort, *, seed: int, site: str, round: int, epochs: int, learning_rate: float
) -> Progress:
    """Train the model's network in place for ``epochs`` passes; Adam begins anew, so that a round depends on nothing
    but its number, its start and the site's data.

    Raises
    ------
    SiteError
        If the loss is not finite.
    """
    network = model.network
    if network is None:
        raise TypeError("the model has no network to train")
    network.train()
    cuda = model.setting.device.type == "cuda"
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=cuda)
    total = torch.zeros((), dtype=torch.float64, device=model.setting.device)
    samples = 0
    for epoch in range(epochs):
        for batch in model.batches(cohort, seeds.generator(seed, "training", site, round, epoch)):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cuda", enabled=cuda):
                loss = model.loss(batch)
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
            total.add_(loss.detach(), alpha=len(batch))
            samples += len(batch)
    mean = float(total) / samples if samples else math.nan
    if not math.isfinite(mean):
        raise SiteError(SiteCode.NOT_FINITE, f"round {round}: mean loss {mean} over {samples} samples")
    return Progress(mean, samples)
