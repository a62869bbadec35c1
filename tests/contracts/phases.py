"""Models in the midst of learning: their phases of one kind, an epoch's batches, the losses of a batch."""

from __future__ import annotations

import numpy as np
import torch
from contracts.entries import Entry, model_of, not_applicable
from learning import sum_up
from synthetic import People

from normfed_common.learning.batch import Batch
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel


def phases_of(model: NormativeModel, kind: str) -> list[Phase]:
    """Those of a kind; the check ends where there are none."""
    found = [phase for phase in model.phases() if phase.kind == kind]
    if not found:
        not_applicable(f"has no {kind} phase")
    return found


def learning(entry: Entry, where: Setting | None = None) -> NormativeModel:
    """A model in the midst of learning: with the sums that transforms before it need."""
    model = model_of(entry, where)
    sum_up(model, People(3))
    return model


def batches(model: NormativeModel, phase: Phase, people: People, seed: int = 0) -> list[Batch]:
    made = model.batches(phase.name, people, np.random.default_rng(seed))
    return [batch.to(model.setting.device) for batch in made]


def losses(model: NormativeModel, phase: Phase, batch: Batch) -> torch.Tensor:
    return model.loss(phase.name, batch, torch.Generator().manual_seed(5))
