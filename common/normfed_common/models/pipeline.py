"""Transforms and the model behind them, as one model: learnt in order, each on what those before it make of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.entries import build
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.transformed import TransformedCohort, transformed_visits

MODEL = "model"


def assemble(transforms: Sequence[dict[str, Any]], model: dict[str, Any], setting: Setting) -> NormativeModel:
    """The model of a resolved study entry, behind the study's transforms where it has any.

    Its network is in evaluation mode, which only training leaves: sums and scores draw no dropout.
    """
    built = build(MODELS, model, setting)
    if transforms:
        built = Pipeline([build(TRANSFORMS, entry, setting) for entry in transforms], built)
    if built.network is not None:
        built.network.eval()
    return built


class Pipeline(NormativeModel):
    """See the module. Phases and parts bear the name of their learner before their own: ``transform-1-moments``."""

    def __init__(self, transforms: Sequence[ScanTransform], model: NormativeModel) -> None:
        super().__init__(model.config, model.setting)
        self.transforms, self.model = tuple(transforms), model
        self.learners: dict[str, Learner] = {
            **{f"transform-{number}": transform for number, transform in enumerate(transforms, 1)},
            MODEL: model,
        }
        learners = self.learners.items()
        networks = {name: learner.network for name, learner in learners if learner.network is not None}
        self.network = torch.nn.ModuleDict(networks) if networks else None
        self.parts = {f"{name}-{part}": module for name, one in learners for part, module in one.parts.items()}
        self.personal = tuple(f"{name}-{part}" for name, one in learners for part in one.personal)
        self.keeps_to_site = any(learner.keeps_to_site for learner in self.learners.values())

    def phases(self) -> tuple[Phase, ...]:
        """Those of the transforms, then those of the model."""
        return tuple(
            replace(
                phase,
                name=f"{name}-{phase.name}",
                # All of a learner's own parts, where it says none: never those of the others.
                parts=tuple(f"{name}-{part}" for part in phase.parts or learner.parts),
            )
            for name, learner in self.learners.items()
            for phase in learner.phases()
        )

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Those of the phase's learner, of scans that the transforms before it have changed."""
        learner, own, before = self._of(phase)
        return learner.batches(own, TransformedCohort(cohort, before), rng)

    def most_samples(self, phase: str, scans: int) -> int:
        """Those of the phase's learner."""
        learner, own, _ = self._of(phase)
        return learner.most_samples(own, scans)

    def most_batches(self, phase: str, scans: int) -> int:
        """Those of the phase's learner."""
        learner, own, _ = self._of(phase)
        return learner.most_batches(own, scans)

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """That of the phase's learner."""
        learner, own, _ = self._of(phase)
        return learner.loss(own, batch, rng)

    def notes(self, people: int) -> tuple[str, ...]:
        """Those of all learners."""
        return tuple(note for learner in self.learners.values() for note in learner.notes(people))

    def places(self, phase: str) -> Places | None:
        """Those of the phase's learner."""
        learner, own, _ = self._of(phase)
        return learner.places(own)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Those of the phase's learner, over scans that the transforms before it have changed."""
        learner, own, before = self._of(phase)
        return learner.statistics(own, TransformedCohort(cohort, before), rng)

    def counted(self, phase: str) -> Mapping[str, float]:
        """Those of the phase's learner."""
        learner, own, _ = self._of(phase)
        return learner.counted(own)

    def check(self, phase: str, sums: Arrays) -> None:
        """By the phase's learner."""
        learner, own, _ = self._of(phase)
        learner.check(own, sums)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """By the phase's learner."""
        super().absorb(phase, total)
        learner, own, _ = self._of(phase)
        return learner.absorb(own, total)

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Every learner, on scans that the transforms before it have changed."""
        for number, learner in enumerate(self.learners.values()):
            learner.personalise(TransformedCohort(cohort, self.transforms[:number]), rng)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The model's, of the scans that the transforms have changed."""
        return self.model.score(transformed_visits(visits, self.transforms), rng)

    def _of(self, phase: str) -> tuple[Learner, str, tuple[ScanTransform, ...]]:
        """The learner of a phase, what it calls the phase itself, and the transforms before it."""
        for number, (name, learner) in enumerate(self.learners.items()):
            if phase.startswith(f"{name}-"):
                return learner, phase.removeprefix(f"{name}-"), self.transforms[:number]
        raise ValueError(f"no learner has a phase {phase!r}")
