"""Makes the manifest of a study: which models are asked about and how often, and the arrays of every answer.

Weights are read off the network, figures off the study, statistics off their tables, sums off people who do not exist
(`stand_in`); what compression and masks make of them is left to the very functions that do it to real ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np

from normfed_client.consent import figures, masked, words
from normfed_client.consent.manifest import Counts, Leaving, Manifest, Row
from normfed_client.consent.planned import Planned, key_of, planned
from normfed_client.consent.promises import notes_of, protection_of, remains_of, stays_of
from normfed_client.consent.stand_in import Fields, Layout, Shapes, layout_of, setting_of
from normfed_client.hospital.folder import Hospital
from normfed_common.algorithms.arms import FEDERATED
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.registry import admitting, recorded
from normfed_common.foundation.versions import installed_version
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import TRANSFORM, assemble
from normfed_common.statistics.learner import CohortStatistics
from normfed_common.statistics.names import ARM, ENTRY, PHASE
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN, Compression
from normfed_common.wire.answers import Answer, Told
from normfed_common.wire.compression import compress_update
from normfed_common.wire.tasks import Task

HEADER = tuple(name for name in Answer.model_fields if name != "payload")
OF_STEP: tuple[Task, ...] = ("query.keys", "query.shares", "query.survivors", "query.unmask")


def made(hospital: Hospital, study: StudyConfig) -> Manifest:
    """See `normfed_client.consent.making.manifest_of`."""
    with admitting(hospital.config.plugins), recorded() as plugins:
        rules = hospital.config
        asked = [*planned(study, rules.site)]
        fields = Fields(study)
        models = {key_of(one.model, PLAIN): _Model(fields, one.model) for one in asked}
        leaving = [_leaving("query.describe", "who takes part, and on what machine", whose="", arms={FEDERATED: 0})]
        if rules.statistics:
            leaving += _statistics(study)
        for one in asked:
            leaving += _learnt(study, models[key_of(one.model, PLAIN)], one)
            leaving += _tested(study, one)
        leaving += _secure_queries(leaving)
        return Manifest(
            study=study.name,
            study_digest=study.digest,
            site=rules.site,
            server=rules.server,
            normfed=installed_version(),
            plugins=dict(sorted(plugins.items())),
            minimum=max(study.federation.minimum_cohort, rules.minimum_people),
            rounds=study.federation.rounds,
            protection=protection_of(study, rules, [model.model for model in models.values()]),
            notes=notes_of(rules, [model.layout.notes for model in models.values()]),
            stays=stays_of(study),
            remains=remains_of(study),
            leaving=tuple(leaving),
        )


@dataclass(frozen=True)
class _Model:
    """One model of the study, and what its sums look like."""

    fields: Fields
    entry: dict[str, Any]

    @property
    def study(self) -> StudyConfig:
        """That it is of."""
        return self.fields.study

    @cached_property
    def model(self) -> NormativeModel:
        """With its first weights."""
        return assemble(self.study.transforms, self.entry, setting_of(self.study))

    @cached_property
    def layout(self) -> Layout:
        """Of its sums."""
        return layout_of(self.fields, self.entry)

    def words(self, phase: str, arrays: Iterable[str]) -> dict[str, str]:
        """What the arrays of a summed phase are."""
        learner, name = self.entry["name"], phase
        if phase.startswith(TRANSFORM):
            number, _, name = phase.removeprefix(TRANSFORM).partition("-")
            learner = self.study.transforms[int(number) - 1]["name"]
        elif phase.startswith("member-") and "members" in self.entry:
            number, _, name = phase.removeprefix("member-").partition("-")
            learner = self.entry["members"][int(number) - 1]["name"]
        return {array: words.of_sums(learner, name, array) for array in arrays}


def _leaving(task: Task, what: str, **fields: Any) -> Leaving:
    payload = next(kind for kind in get_args(Told) if kind.model_fields["task"].default == task)
    header = (*HEADER, *(name for name in payload.model_fields if name != "task"))
    return Leaving(task=task, what=what, header=header, **fields)


def _statistics(study: StudyConfig) -> Iterable[Leaving]:
    learner = CohortStatistics(study, setting_of(study))
    meaning = {
        table.name: f"{'shares of voxels' if table.shares else 'people'} by {table.title}: from bin to bin"
        for table in learner.tables
    } | {"people": "people who are counted"}
    shares = {table.name for table in learner.tables if table.shares}
    if study.privacy.epsilon is None:
        shapes: Shapes = {table.name: (len(table.bins),) * 2 for table in learner.tables} | {"people": ()}
        counted: dict[str, Counts] = {name: "all" for name in shapes if name not in shares}
        noisy: Collection[str] = ()
    else:
        bounded = learner.bounded(PHASE)
        shapes = {**bounded.shapes(), **{name: np.shape(array) for name, array in bounded.beside(1).items()}}
        meaning |= {name: f"{meaning[name]}, with noise" for name in bounded.shapes()}
        counted, noisy = {"people": "all"}, bounded.shapes().keys()
    rows = _rows(shapes, meaning, "everybody", counted=counted)
    what = "statistics of the people who take part"
    entries = {"whose": key_of(ENTRY, PLAIN), "arms": {ARM: 0}, "part": PHASE}
    plain = _leaving("train.sums", what, **entries, rows=rows)
    yield masked.of_sums(study, plain, learner.phases(), noisy)


def _rows(
    shapes: Shapes,
    meaning: Mapping[str, str],
    about: str = "trained on",
    dtype: str = "float64",
    counted: Mapping[str, Counts] | None = None,
) -> tuple[Row, ...]:
    return tuple(
        Row(array=name, what=meaning[name], dtype=dtype, shape=shape, about=about, counts=(counted or {}).get(name, ""))
        for name, shape in shapes.items()
    )


def _learnt(study: StudyConfig, model: _Model, one: Planned) -> Iterable[Leaving]:
    """Sums, the canary, rounds and fine-tuning of a model that learns from this site."""
    rounds = 0
    for phase in model.model.phases():
        turns = phase.turns(study.federation.rounds)
        fields: dict[str, Any] = {"whose": one.whose, "arms": one.trained, "part": phase.name}
        if phase.kind == "summed":
            shapes = model.layout.sums[phase.name]
            rows = _rows(shapes, model.words(phase.name, shapes))
            leaving = _leaving("train.sums", f"sums of {one.title}", **fields, turns=(0, turns - 1), rows=rows)
            yield masked.of_sums(study, leaving, model.model.phases(), model.layout.noisy.get(phase.name, ()))
            continue
        weights = _weights(model.model, one.strategy, phase)
        if not rounds and FEDERATED in one.trained:
            what, rows = f"try-out of {one.title}: the weights as they came", _update_rows(weights, one.compression)
            tried = fields | {"arms": {FEDERATED: 0}, "compression": one.compression, "rows": rows}
            yield _leaving("train.canary", what, **tried)
        yield _rounds(study, model.model, one, phase, weights, (rounds + 1, rounds + turns))
        rounds += turns
    if configure(one.strategy)[0].fine_tuned:
        what = f"fine-tuning of {one.title}: the model stays"
        yield _leaving("train.personal", what, whose=one.whose, arms=one.trained, turns=(rounds + 1, rounds + 1))


def _weights(model: NormativeModel, strategy: dict[str, Any], phase: Phase) -> Arrays:
    leaving = model.arrays_of(phase) - personal_arrays(model, strategy)
    return {name: array for name, array in model.share().items() if name in leaving}


def _update_rows(weights: Arrays, compression: Compression) -> tuple[Row, ...]:
    sent = compress_update(weights, weights, compression, seeds.generator(0, "manifest"))
    return tuple(_row_of(name, array, words.of_weight(name)) for name, array in sent.items())


def _row_of(name: str, array: np.ndarray, what: str) -> Row:
    return Row(array=name, what=what, dtype=str(array.dtype), shape=array.shape, about="trained on")


def _rounds(
    study: StudyConfig, model: NormativeModel, one: Planned, phase: Phase, weights: Arrays, turns: tuple[int, int]
) -> Leaving:
    secure = study.privacy.secure_aggregation
    fields: dict[str, Any] = {"whose": one.whose, "arms": one.trained, "part": phase.name, "turns": turns}
    if secure is None:
        fields |= {"compression": one.compression, "rows": _update_rows(weights, one.compression)}
    else:
        fields |= {"masked": True, "rows": masked.round_rows(study, secure, model, phase, weights)}
    return _leaving("train.round", f"training of {one.title}", **fields)


def _tested(study: StudyConfig, one: Planned) -> Iterable[Leaving]:
    """Figures of people tested and held out: in three steps, or where only a ranking is asked for in one."""
    steps: dict[Task, tuple[Row, ...]] = {
        "evaluate.score": figures.range_rows(),
        "evaluate.count": figures.count_rows(),
        "evaluate.measure": figures.measure_rows(study),
    }
    what = f"test of {one.title}"
    for task, rows in steps.items() if one.full else ():
        yield _leaving(task, what, whose=one.whose, arms=one.full, part="full", rows=rows)
    if one.ranking:
        rows = figures.summary_rows(study)
        yield _leaving("evaluate.score", what, whose=one.whose, arms=one.ranking, part="ranking", rows=rows)


def _secure_queries(leaving: Sequence[Leaving]) -> Iterable[Leaving]:
    """What is said beside each masked answer."""
    steps = [one for one in leaving if one.masked]
    for task in OF_STEP if steps else ():
        arms = {arm: repeat for one in steps for arm, repeat in one.arms.items()}
        most = max(sum(one.often for one in steps if arm in one.arms) for arm in arms)
        yield _leaving(task, "keys and shares of a secure sum", whose="", arms=arms, turns=(1, most))
