"""Transforms, the model behind them and what is done to its maps as one model, learnt in order, each on scans that
those before it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from normfed_common.foundation import seeds
from normfed_common.foundation.errors import PluginError
from normfed_common.learning.cohort import Cohort, Scan, Subcohort
from normfed_common.learning.entries import build, draws, postprocessing_of
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.composite import Composite
from normfed_common.models.maps.postprocessing import postprocessed
from normfed_common.study.config import StudyConfig
from normfed_common.study.postprocessing import OFF, PostprocessingConfig
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.transformed import TransformedCohort, transformed_visits

TRANSFORM = "transform-"  # how the names of a transform's phases, parts and arrays begin, and no model's do


def assemble(transforms: Sequence[dict[str, Any]], model: dict[str, Any], setting: Setting) -> NormativeModel:
    """The model of a resolved study entry, behind the study's transforms and before its post-processing.

    Each transform sees, as its setting's range of values, that of the one before it. The entry's own post-processing
    takes the place of the study's.
    Its network is in evaluation mode, which only training leaves: sums and scores draw no dropout.
    """
    before: list[ScanTransform] = []
    for entry in transforms:
        before.append(build(TRANSFORMS, entry, setting))
        setting = replace(setting, value_range=before[-1].value_range)
    built = build(MODELS, model, setting)
    after = postprocessing_of(model, setting.postprocessing)
    if before or not after.is_off:
        built = Pipeline(before, built, after)
    if built.network is not None:
        built.network.eval()
    return built


def draws_anything(study: StudyConfig, model: dict[str, Any]) -> bool:
    """Whether anything is drawn when a study's model learns or is used (see `Learner.draws`), noise of privacy too."""
    if draws(MODELS, model) or any(draws(TRANSFORMS, entry) for entry in study.transforms):
        return True
    return study.privacy.epsilon is not None and bool(assemble(study.transforms, model, Setting.of(study)).phases())


class Pipeline(Composite):
    """See the module.

    The model's phases, parts and arrays keep their names; those of a transform begin with its place,
    ``transform-1-moments``, ``network.transform-1.weight``.

    Raises
    ------
    PluginError
        If the model has names that begin as a transform's do.
    """

    def __init__(
        self, transforms: Sequence[ScanTransform], model: NormativeModel, postprocessing: PostprocessingConfig = OFF
    ) -> None:
        self.transforms, self.model, self.postprocessing = tuple(transforms), model, postprocessing
        arrays = () if model.network is None else model.network.state_dict()
        for name in (*(phase.name for phase in model.phases()), *model.parts, *arrays) if transforms else ():
            if name.startswith(TRANSFORM):
                raise PluginError(
                    f"{type(model).__name__} cannot be used behind transforms: it calls something {name}, and names "
                    f"that begin with {TRANSFORM} are theirs."
                )
        self._names = tuple(f"{TRANSFORM}{number}" for number in range(1, len(self.transforms) + 1))
        super().__init__(model.config, model.setting, dict(zip(self._names, self.transforms, strict=True)), model)
        self._personalised = 0  # how many of the transforms are, on the cohort seen since the weights last changed
        self._seen: TransformedCohort | None = None

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Every learner that keeps something to its site, on scans that the transforms before it have changed."""
        self._changes(0)
        before = self._seen_by(len(self.transforms), cohort)
        if self.model.keeps_to_site:
            self.model.personalise(before, rng)
        self._seen = None  # whoever is scored next is somebody else

    def adapt(self, cohort: Cohort) -> None:
        """The transforms alone, on people of a site that has nobody to learn from; the model keeps what all share."""
        self._changes(0)
        self._seen_by(len(self.transforms), cohort)
        self._seen = None

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The model's, of the scans that the transforms have changed, post-processed."""
        found = self.model.score(transformed_visits(visits, self.transforms) if self.transforms else visits, rng)
        return postprocessed(found, visits[-1], self.postprocessing, self.setting)

    def _seen_by(self, number: int, cohort: Cohort) -> Cohort:
        """Scans as the transforms before a place make them; they are kept while nothing changes."""
        self._changes(number)  # by training
        self._personalise(number, cohort)
        if number == 0:
            return cohort
        if isinstance(cohort, Subcohort):  # the transforms are learnt, so a scan is the same beside whomever
            return cohort.of(self._seen_by(number, cohort.whole))
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
        self._personalised = min(self._personalised, number)
        if self._seen is not None and len(self._seen.transforms) > number:
            self._seen = None
