"""How a model learnt at some sites does at others: they learn as a federation does, in one process, without messages.

Sums and updates are added as the server adds them, and scans scored as a site scores them. What leaves a site is not
made coarser, as a minimum cohort above 1 would have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from folds import Fold
from pydantic import Field

from normfed_client.evaluating import maps
from normfed_client.hospital.site import Case
from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.imaging.labels import NO_LESION
from normfed_client.imaging.template import anatomy, common_grid
from normfed_client.training.loop import Settings, train
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.learner import NETWORK
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import validate_learner, validate_strategy
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN, FederationConfig, SumsBy
from normfed_server.arms.sums import Total
from normfed_server.steps.base import Update
from normfed_server.steps.catalogue import make_step
from normfed_server.steps.progress import Progress

MEGABYTE = 1e6
# First sums by site and people, and their seconds: of a model that has learnt nothing they are the same in every fold.
FirstSums = dict[tuple[str, ...], tuple[Arrays, float]]


class Entry(Frozen):
    """A model to compare; see models.yaml."""

    label: str
    model: dict[str, Any]
    sums: SumsBy = "by-people"
    baseline: bool = Field(False, description="others stand beside the best of these")
    draws: bool = Field(False, description="another seed gives another model")
    slow: bool = False
    without: str | None = Field(None, description="a modality; studies with it leave the entry out")
    having: str | None = Field(
        None,
        exclude_if=lambda modality: modality is None,  # as for learning_rate
        description="a modality; studies without it leave the entry out",
    )
    rounds: int | None = Field(None, ge=1, description="of averaged phases; the study's when absent")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=10,
        exclude_if=lambda rate: rate is None,  # figures that were kept without the key still answer
        description="of the sites' optimiser; the study's when absent",
    )


@dataclass(frozen=True)
class Scored:
    """A person's map, by a model that has not seen the person."""

    case: Case
    site: str
    group: str
    anomaly: np.ndarray
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether nobody has drawn a lesion."""
        return self.case.kind == NO_LESION


@dataclass(frozen=True)
class Learnt:
    """What all sites share after learning, the seconds of all sites together, and what one site has sent."""

    arrays: Arrays
    seconds: float
    megabytes: float


class Federation:
    """The sites of a fold, learning one model.

    Parameters
    ----------
    seed
        Of this training; the study's, or another.
    """

    def __init__(self, study: StudyConfig, entry: Entry, fold: Fold, seed: int, first: FirstSums) -> None:
        size = study.preprocessing.voxel_size_mm
        self.setting = Setting.of(study, common_grid(size).shape, seed=seed, open_anatomy=partial(anatomy, size))
        self.model = validate_learner(MODELS, entry.model, entry.label)
        self.study, self.seed, self._first = study, seed, first
        asked = {"sums": entry.sums, "rounds": entry.rounds, "learning_rate": entry.learning_rate}
        self.federation: FederationConfig = study.federation.model_copy(
            update={key: value for key, value in asked.items() if value is not None}
        )
        self.cohorts = {
            site: PreparedCohort([(case.visit, case.entry) for case in people]) for site, people in fold.learn.items()
        }
        self._round, self._bytes, self._saved_s = 0, 0, 0.0

    @cached_property
    def learnt(self) -> Learnt:
        """What is learnt when first asked for."""
        return self.learn()

    def new(self) -> NormativeModel:
        """The model as every process of a run makes it."""
        return assemble(self.study.transforms, self.model, self.setting)

    @property
    def trains(self) -> bool:
        """Whether the model has a network that rounds train."""
        return any(phase.kind == "averaged" for phase in self.new().phases())

    def learn(self) -> Learnt:
        """All phases in order.

        Raises
        ------
        StudyError
            If a part of the model's network never leaves its site.
        """
        begun = time.perf_counter()
        server = self.new()
        if server.personal:
            raise StudyError(
                f"{self.model['name']} keeps parts of its network at each site, which is not compared here."
            )
        for number, phase in enumerate(server.phases()):
            for turn in range(phase.turns(self.federation.rounds)):
                if phase.kind == "averaged":
                    self._average(server, phase)
                elif self._sum(server, phase, turn, first=number == turn == 0):
                    break
        return Learnt(server.share(), time.perf_counter() - begun + self._saved_s, self._bytes / MEGABYTE)

    def served(self, arrays: Arrays, site: str, tuned_epochs: int = 0) -> NormativeModel:
        """The model with which a site scores; what stays there is learnt there, where somebody trains.

        Parameters
        ----------
        tuned_epochs
            Of training at the site alone, at its end, as `fine-tuning` does.
        """
        model = self._at(arrays)
        if site not in self.cohorts:
            return model
        if tuned_epochs:
            of = self.federation
            for phase in model.phases():
                if phase.kind == "averaged":
                    how = (tuned_epochs, of.learning_rate, of.optimiser)
                    train(model, self.cohorts[site], Settings(phase, self.seed, site, self._round + 1, *how))
        if model.keeps_to_site:
            model.personalise(self.cohorts[site], seeds.generator(self.seed, "personalise", site))
        return model

    def _at(self, arrays: Arrays) -> NormativeModel:
        model = self.new()
        model.load(arrays)
        return model

    def _settings(self, phase: Phase, site: str) -> Settings:
        of = self.federation
        return Settings(phase, self.seed, site, self._round, of.local_epochs, of.learning_rate, of.optimiser)

    def _sum(self, server: NormativeModel, phase: Phase, turn: int, first: bool) -> bool:
        received = server.share()
        total, sent = Total(self.federation.sums, self.federation.largest_share), 0
        for site, cohort in sorted(self.cohorts.items()):
            key = (site, *(visit.name for visit, _ in cohort.visits))
            again = (turn,) if turn else ()
            if first and key in self._first:
                sums, seconds = self._first[key]
                self._saved_s += seconds
            else:
                begun = time.perf_counter()
                rng = seeds.generator(self.seed, "sums", site, phase.name, *again)
                found = self._at(received).statistics(phase.name, cohort, rng)
                sums = {name: np.asarray(array, np.float64) for name, array in found.items()}
                if first:
                    self._first[key] = sums, time.perf_counter() - begun
            sent = max(sent, sum(array.nbytes for array in sums.values()))
            total.add(site, sums, len(cohort.people()))
        self._bytes += sent
        return server.absorb(phase.name, total.arrays())

    def _average(self, server: NormativeModel, phase: Phase) -> None:
        self._round += 1
        received = server.share()
        weights = {name: array for name, array in received.items() if name.startswith(NETWORK)}
        progress, step = Progress([weights]), make_step(validate_strategy(PLAIN, "the strategy"), self.federation)
        people = {site: len(cohort.people()) for site, cohort in self.cohorts.items()}
        step.begin(progress, people)
        names = server.arrays_of(phase)
        self._bytes += sum(weights[name].nbytes for name in names)
        for site, cohort in sorted(self.cohorts.items()):
            model = self._at(received)
            train(model, cohort, self._settings(phase, site))
            trained = model.share()
            step.add(Update(site, people[site], {**weights, **{name: trained[name] for name in names}}))
        step.end(progress)
        server.load(progress.models[0])


def transferred(
    study: StudyConfig, entry: Entry, plan: Iterable[Fold], seed: int, told: Callable[[str], None]
) -> tuple[list[Scored], list[Learnt]]:
    """Everybody's map, and what learning took in every fold."""
    scored: list[Scored] = []
    learnt: list[Learnt] = []
    first: FirstSums = {}
    for fold in plan:
        federation = Federation(study, entry, fold, seed, first)
        learnt.append(federation.learn())
        told(f"{fold.name}: learnt in {learnt[-1].seconds:.1f} s")
        for site, people in fold.scored.items():
            found = scores(federation.served(learnt[-1].arrays, site), people)
            scored += [Scored(case, site, fold.group[site], anomaly, seconds) for case, anomaly, seconds in found]
    return scored, learnt


def scores(model: NormativeModel, people: Sequence[Case]) -> Iterator[tuple[Case, np.ndarray, float]]:
    """Of each person of a site the map, and the seconds that it took."""
    for case in people:
        begun = time.perf_counter()
        found = maps.score(model, maps.until(case, people), case.visit.name)
        yield case, found.anomaly, time.perf_counter() - begun
