"""Transforms and the model behind them as one model, learnt in order, each on scans that those before it changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import PluginError
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

TRANSFORM = "transform-"  # how the names of a transform's phases, parts and arrays begin, and no model's do


def assemble(transforms: Sequence[dict[str, Any]], model: dict[str, Any], setting: Setting) -> NormativeModel:
    """The model of a resolved study entry, behind the study's transforms where it has any.

    Each sees, as its setting's range of values, that of the transform before it.
    Its network is in evaluation mode, which only training leaves: sums and scores draw no dropout.
    """
    before: list[ScanTransform] = []
    for entry in transforms:
        before.append(build(TRANSFORMS, entry, setting))
        setting = replace(setting, value_range=before[-1].value_range)
    built = build(MODELS, model, setting)
    if before:
        built = Pipeline(before, built)
    if built.network is not None:
        built.network.eval()
    return built


class Pipeline(NormativeModel):
    """See the module.

    The model's phases, parts and arrays keep their names; those of a transform begin with its place,
    ``transform-1-moments``, ``network.transform-1.weight``.

    Raises
    ------
    PluginError
        If the model has names that begin as a transform's do.
    """

    def __init__(self, transforms: Sequence[ScanTransform], model: NormativeModel) -> None:
        super().__init__(model.config, model.setting)
        self.transforms, self.model = tuple(transforms), model
        named = {f"{TRANSFORM}{number}": transform for number, transform in enumerate(transforms, 1)}
        self._names = tuple(named)
        self._learners: tuple[Learner, ...] = (*transforms, model)
        arrays = () if model.network is None else model.network.state_dict()
        for name in (*(phase.name for phase in model.phases()), *model.parts, *arrays):
            if name.startswith(TRANSFORM):
                raise PluginError(
                    f"{type(model).__name__} cannot be used behind transforms: it calls something {name}, and names "
                    f"that begin with {TRANSFORM} are theirs."
                )
        networks = {name: one.network for name, one in named.items() if one.network is not None}
        self.network = _Networks(model.network, networks) if networks else model.network
        self.parts = {f"{name}-{part}": module for name, one in named.items() for part, module in one.parts.items()}
        self.parts |= model.parts
        self.personal = (*(f"{name}-{part}" for name, one in named.items() for part in one.personal), *model.personal)
        self.keeps_to_site = any(learner.keeps_to_site for learner in self._learners)
        self._personalised = 0  # how many of the transforms are, on the cohort seen since the weights last changed
        self._seen: TransformedCohort | None = None

    def phases(self) -> tuple[Phase, ...]:
        """Those of the transforms, then those of the model."""
        of_transforms = (
            replace(phase, name=f"{name}-{phase.name}", parts=tuple(f"{name}-{part}" for part in _parts(phase, one)))
            for name, one in zip(self._names, self.transforms, strict=True)
            for phase in one.phases()
        )
        of_model = (replace(phase, parts=_parts(phase, self.model)) for phase in self.model.phases())
        return (*of_transforms, *of_model)

    def whose(self, phase: str) -> Learner:
        """The phase's learner."""
        return self._learners[self._of(phase)[0]]

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Those of the phase's learner, of scans that the transforms before it have changed."""
        number, own = self._of(phase)
        return self._learners[number].batches(own, self._before(number, cohort), rng)

    def most_samples(self, phase: str, scans: int) -> int:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].most_samples(own, scans)

    def most_batches(self, phase: str, scans: int) -> int:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].most_batches(own, scans)

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].loss(own, batch, rng)

    def notes(self, people: int) -> tuple[str, ...]:
        """Those of all learners."""
        return tuple(note for learner in self._learners for note in learner.notes(people))

    def places(self, phase: str) -> Places | None:
        """Those of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].places(own)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Those of the phase's learner, over scans that the transforms before it have changed."""
        number, own = self._of(phase)
        return self._learners[number].statistics(own, self._before(number, cohort), rng)

    def counted(self, phase: str) -> Mapping[str, float]:
        """Those of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].counted(own)

    def check(self, phase: str, sums: Arrays) -> None:
        """By the phase's learner."""
        number, own = self._of(phase)
        self._learners[number].check(own, sums)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """By the phase's learner, which checks it."""
        number, own = self._of(phase)
        self._changes(number)
        settled = self._learners[number].absorb(own, total)
        self._sums[phase] = self._learners[number].sums(own)
        return settled

    def reference_loss(self, phase: str) -> float | None:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].reference_loss(own)

    def load(self, shared: Arrays) -> None:
        """See `Learner.load`; what the transforms keep at the site is learnt anew."""
        super().load(shared)
        self._changes(0)

    def prepare(self, phase: str, cohort: Cohort) -> None:
        """Personalise the transforms before the phase's learner, each on what those before it make of the scans.

        `batches` and `statistics` do so by themselves, on the first cohort that they are given after `load`; further
        cohorts must be of the same site. All draw alike, so that a scan is scored as it was trained on.
        """
        number, _ = self._of(phase)
        self._personalise(number, cohort)

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Every learner that keeps something to its site, on scans that the transforms before it have changed."""
        self._changes(0)
        before = self._before(len(self.transforms), cohort)
        if self.model.keeps_to_site:
            self.model.personalise(before, rng)
        self._seen = None  # whoever is scored next is somebody else

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The model's, of the scans that the transforms have changed."""
        return self.model.score(transformed_visits(visits, self.transforms), rng)

    def _of(self, phase: str) -> tuple[int, str]:
        """The place of a phase's learner, and what it calls the phase itself."""
        for number, name in enumerate(self._names):
            if phase.startswith(f"{name}-"):
                return number, phase.removeprefix(f"{name}-")
        return len(self.transforms), phase

    def _before(self, number: int, cohort: Cohort) -> Cohort:
        """A cohort as the learner at a place sees it; scans that were transformed are kept while nothing changes."""
        self._changes(number)  # by training
        self._personalise(number, cohort)
        if number == 0:
            return cohort
        if self._seen is None or self._seen.cohort is not cohort or len(self._seen.transforms) != number:
            self._seen = TransformedCohort(cohort, self.transforms[:number])
        return self._seen

    def _personalise(self, number: int, cohort: Cohort) -> None:
        for place in range(self._personalised, number):
            if self.transforms[place].keeps_to_site:
                before = TransformedCohort(cohort, self.transforms[:place]) if place else cohort
                rng = seeds.generator(self.setting.seed, "personalise", self._names[place])
                with torch.inference_mode(mode=False):  # also where a mean loss is worked out
                    self.transforms[place].personalise(before, rng)
        self._personalised = max(self._personalised, number)

    def _changes(self, number: int) -> None:
        """What a learner has learnt changes: what comes after it has to be learnt anew."""
        self._personalised = min(self._personalised, number)
        if self._seen is not None and len(self._seen.transforms) > number:
            self._seen = None


class _Networks(torch.nn.Module):
    """The networks of a pipeline as one: the model's arrays keep their names, a transform's begin with its name."""

    MODEL = "model"  # inside; no name that is seen from outside begins with it

    def __init__(self, model: torch.nn.Module | None, transforms: Mapping[str, torch.nn.Module]) -> None:
        super().__init__()
        for name, network in (*transforms.items(), (self.MODEL, model)):
            self.add_module(name, network)

    def named_modules(
        self, memo: set[torch.nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, torch.nn.Module]]:
        """As torch's; the names of parameters and buffers follow from these."""
        for name, module in super().named_modules(memo, "", remove_duplicate):
            yield ".".join(filter(None, (prefix, self._outside(name)))), module

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """As torch's."""
        found = super().state_dict(keep_vars=keep_vars)
        named = {prefix + self._outside(name): tensor for name, tensor in found.items()}
        return named if destination is None else destination.update(named) or destination

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's."""
        inside = {
            name if name.startswith(TRANSFORM) else f"{self.MODEL}.{name}": array for name, array in state_dict.items()
        }
        return super().load_state_dict(inside, strict, assign)

    def _outside(self, name: str) -> str:
        return name.removeprefix(self.MODEL).removeprefix(".")


def _parts(phase: Phase, learner: Learner) -> tuple[str, ...]:
    """Those that a phase trains: where it says none all of its learner's own, never those of the others."""
    return phase.parts or tuple(learner.parts)
