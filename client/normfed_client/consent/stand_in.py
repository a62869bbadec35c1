"""What a model's sums look like, found by making them of people who do not exist: no scan is opened for it.

A learner promises that names and shapes of its sums are the same at every site, whoever is in the cohort
(`normfed_common.learning.learner`). So a few people of random values in the template's brain, on the study's own grid,
show them, for a plug-in's model as for ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from torch import from_numpy
from torch.nn.functional import interpolate

from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import NormfedError, PluginError
from normfed_common.learning.cohort import Person, Scan, Sex
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import assemble
from normfed_common.study.config import StudyConfig
from normfed_common.wording.exceptions import story

SIZES = ((4, 1), (24, 2), (60, 2), (400, 2))  # people and their visits: more, where a model takes no fewer
FIELDS = 6  # of two of which every image is a mixture
SMOOTH_VOXELS = 8
SCANNERS = 2
SEED = 0

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """What a model sends of its sums.

    Parameters
    ----------
    sums
        Summed phase to array to shape.
    notes
        Sentences about the method that may go with any answer.
    noisy
        Summed phase to the arrays that have noise in them.
    """

    sums: Mapping[str, Shapes]
    notes: tuple[str, ...]
    noisy: Mapping[str, Collection[str]] = field(default_factory=dict)


class Fields:
    """Random images of a study's grid, made once for all of its models: smooth, with some noise in every voxel, so that
    no two neighbours are alike."""

    def __init__(self, study: StudyConfig) -> None:
        self.study = study

    @cached_property
    def brain(self) -> np.ndarray:
        """The template's, (X, Y, Z), boolean."""
        return common_grid(self.study.preprocessing.voxel_size_mm).brain

    @cached_property
    def images(self) -> np.ndarray:
        """Within the study's range of values, 0 outside the brain: (FIELDS, X, Y, Z), float32."""
        low, high = self.study.preprocessing.value_range
        shape, rng = self.brain.shape, seeds.generator(SEED, "stand-in fields")
        coarse = rng.standard_normal((1, FIELDS, *(-(-length // SMOOTH_VOXELS) for length in shape)), np.float32)
        found = interpolate(from_numpy(coarse), shape, mode="trilinear")[0].numpy()
        found += 0.3 * rng.standard_normal(found.shape, np.float32)
        return np.asarray(np.clip(0.5 + 0.3 * found, low, high) * self.brain, np.float32)


class StandIns:
    """A cohort of people who do not exist (see `normfed_common.learning.cohort.Cohort`): the same in every process."""

    def __init__(self, fields: Fields, people: int, visits: int) -> None:
        self.fields, self.visits = fields, visits
        self._normal = np.flatnonzero(fields.brain).astype(np.int32)
        self._people = people

    def __len__(self) -> int:
        return self._people * self.visits

    def people(self) -> Sequence[Sequence[int]]:
        """Each person's scans."""
        return [range(start, start + self.visits) for start in range(0, len(self), self.visits)]

    def scan(self, index: int) -> Scan:
        """Of every modality a mixture of two fields, another for every scan."""
        rng, fields = seeds.generator(SEED, "stand-in", index), self.fields
        channels = len(fields.study.data.modalities)
        images = np.empty((channels, *fields.brain.shape), np.float32)
        for image in images:
            one, other = rng.choice(FIELDS, 2, replace=False)
            np.multiply(fields.images[one] - fields.images[other], np.float32(rng.random()), out=image)
            image += fields.images[other]
        number, visit = divmod(index, self.visits)
        sex: Sex = "F" if number // 2 % 2 else "M"
        person = Person(number, 25.0 + number % 50, sex, f"stand-in/{(number + visit) % SCANNERS}")
        return Scan(images, fields.brain, self._normal, np.ones(channels, bool), person)


def setting_of(study: StudyConfig) -> Setting:
    """The setting of a study on its grid; nobody stands in it who needs protection."""
    size = study.preprocessing.voxel_size_mm
    return Setting.of(study, common_grid(size).shape, open_anatomy=partial(anatomy, size))


def layout_of(fields: Fields, entry: Mapping[str, object]) -> Layout:
    """The sums and notes of a model of the study of these fields, behind its transforms.

    Raises
    ------
    PluginError
        If they cannot be made of anybody.
    """
    study = fields.study
    new = partial(assemble, study.transforms, dict(entry), setting_of(study))
    if study.privacy.epsilon is not None:
        return _bounded(new())
    if not any(phase.kind == "summed" for phase in new().phases()):
        return Layout({}, new().may_note())
    for people, visits in SIZES:
        try:
            return _made(new, StandIns(fields, people, visits))
        except (NormfedError, ArithmeticError, LookupError, ValueError) as error:
            fault = error
    raise PluginError(
        f"The model {entry['name']}: what its sums look like could not be found out, with up to {SIZES[-1][0]} people "
        f"made up for it: {story(fault)}. Ask whoever wrote the study."
    ) from fault


def _bounded(model: NormativeModel) -> Layout:
    """Where there is noise, a model declares its sums itself."""
    sums, noisy = dict[str, Shapes](), dict[str, Collection[str]]()
    for phase in model.phases():
        bounded = model.bounded(phase.name) if phase.kind == "summed" else None
        if bounded is not None:
            beside = {name: np.shape(array) for name, array in bounded.beside(1).items()}
            sums[phase.name], noisy[phase.name] = {**bounded.shapes(), **beside}, bounded.shapes().keys()
    return Layout(sums, model.may_note(), noisy)


def _made(new: Callable[[], NormativeModel], cohort: StandIns) -> Layout:
    model, sums = new(), dict[str, Shapes]()
    last = max(number for number, phase in enumerate(model.phases()) if phase.kind == "summed")
    for number, phase in enumerate(model.phases()[: last + 1]):
        if phase.kind == "averaged":
            continue  # of first weights later sums look as they do of trained ones
        made = _sums(model, phase, cohort)
        sums[phase.name] = {name: array.shape for name, array in made.items()}
        if number < last:
            model.absorb(phase.name, made)
    return Layout(sums, model.may_note())


def _sums(model: NormativeModel, phase: Phase, cohort: StandIns) -> Arrays:
    rng = seeds.generator(SEED, "stand-in", phase.name)
    return {name: np.asarray(value, np.float64) for name, value in model.statistics(phase.name, cohort, rng).items()}
