"""What every local objective keeps to, on quadratics: a round's arrays leave, what is personal stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.entries import Entry, entries, every, not_applicable
from quadratic import TRAINING, Quadratic, bowls
from stepping import step_of
from synthetic import People, setting
from toys import TwoPhases

from normfed_client.hospital.personal import PersonalStore
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.loop import Settings
from normfed_client.training.objectives import OBJECTIVES, Outcome, Round
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import ALGORITHMS, Algorithm, configure
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.batch import Batch
from normfed_common.studies import validate_strategy
from normfed_common.study.base import Frozen
from normfed_common.wire.offers import Offer
from normfed_server.steps.progress import Progress


def strategies() -> list[Entry]:
    """Every objective, under one algorithm of each rule of sharing that asks for it."""
    found = {}
    for objective in entries(OBJECTIVES, {}):
        found[objective.name, ""] = Entry(objective.name, objective.name)
        for name in ALGORITHMS:
            row = ALGORITHMS[name]
            if row.objective == objective.name and name != "prior-clusters":
                found.pop((objective.name, ""), None)
                label = objective.name if row.sharing == "all" else f"{objective.name}, {row.sharing}"
                found.setdefault((objective.name, row.sharing), Entry(objective.name, label, {"name": name}))
    return list(found.values())


EACH = every(strategies())
B = np.array([1.0, -2.0], np.float32)
BATCHES = 3


def of(entry: Entry) -> tuple[dict[str, Any], Algorithm, Any]:
    """A strategy's entry, its row and parameters."""
    if not entry.values:
        not_applicable("no algorithm asks for it")
    strategy = validate_strategy(dict(entry.values), "test")
    return strategy, *configure(strategy)


def job_of(entry: Entry, folder: Path, number: int = 1, checkpoints: Path | None = None) -> Round:
    """A round at a site whose optimum is B, of a model that another site has moved."""
    strategy, row, parameters = of(entry)
    model = Quadratic()
    models = [{n: np.full_like(a, 0.1 * (number + k)) for n, a in model.share().items()} for k in range(2)]
    offered = models if row.offers_every_cluster else models[:1]
    settings = Settings(TRAINING, 0, "a", number, epochs=2, learning_rate=0.05, optimiser="sgd")
    if checkpoints is not None:
        settings = replace(settings, checkpoints=TrainingCheckpoints(checkpoints, every_s=0.0))
    return Round(
        model,
        bowls((float(B[0]), float(B[1])), steps=BATCHES)["a"],
        settings,
        Offer(tuple(offered), step_of(strategy).beside(Progress(models[:1]))),
        personal_arrays(model, strategy),
        parameters,
        PersonalStore(folder),
        number - 1,
    )


def trained(job: Round, entry: Entry) -> Outcome:
    return OBJECTIVES[entry.name](job)


def kept(job: Round) -> Arrays:
    """What the site kept of the round."""
    return job.store.load(job.settings.round + 1)


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@EACH
def test_only_shared_arrays_leave_as_they_came_and_finite(entry: Entry, tmp_path: Path) -> None:
    job = job_of(entry, tmp_path)
    outcome = trained(job, entry)
    received = job.offer.models[outcome.cluster]
    assert set(outcome.arrays) == job.model.arrays_of(TRAINING) - job.personal
    for name, array in outcome.arrays.items():
        assert (array.shape, array.dtype) == (received[name].shape, received[name].dtype)
        assert np.isfinite(array).all()


@EACH
def test_what_is_personal_stays_is_kept_and_is_what_the_next_round_begins_with(entry: Entry, tmp_path: Path) -> None:
    _, row, _ = of(entry)
    job = job_of(entry, tmp_path)
    if not (job.personal or row.beside_a_personal_model):
        not_applicable("keeps no part of a model")
    outcome = trained(job, entry)
    mine = kept(job)
    assert job.personal <= set(mine)
    assert row.beside_a_personal_model or not set(mine) & set(outcome.arrays)
    if job.personal:
        following = job_of(entry, tmp_path, number=2)
        following.start(following.received)
        assert_same({name: following.model.share()[name] for name in job.personal}, mine)


@EACH
def test_a_round_moves_what_it_shares_towards_the_optimum_of_the_site(entry: Entry, tmp_path: Path) -> None:
    job = job_of(entry, tmp_path)
    outcome = trained(job, entry)
    received = job.offer.models[outcome.cluster]
    weights = [name for name in outcome.arrays if name.endswith("weight")]
    assert weights
    for name in weights:
        assert np.linalg.norm(outcome.arrays[name] - B) < np.linalg.norm(received[name] - B)


@EACH
def test_the_loss_is_finite_and_steps_and_samples_are_those_of_the_epochs(entry: Entry, tmp_path: Path) -> None:
    progress = trained(job_of(entry, tmp_path), entry).progress
    assert np.isfinite(progress.loss)
    assert (progress.steps, progress.samples) == (2 * BATCHES, 2 * BATCHES)


@EACH
def test_what_was_offered_stays_as_it_is(entry: Entry, tmp_path: Path) -> None:
    job = job_of(entry, tmp_path)
    before = [
        {name: array.copy() for name, array in arrays.items()} for arrays in (*job.offer.models, job.offer.beside)
    ]
    trained(job, entry)
    for found, expected in zip((*job.offer.models, job.offer.beside), before, strict=True):
        assert_same(dict(found), expected)


@EACH
def test_a_round_that_is_asked_again_gives_the_same(entry: Entry, tmp_path: Path) -> None:
    trained(job_of(entry, tmp_path), entry)
    results = []
    for _ in range(2):
        job = job_of(entry, tmp_path, number=2)
        results.append((trained(job, entry), kept(job)))
    (first, mine), (second, still) = results
    assert_same(second.arrays, first.arrays)
    assert_same(still, mine)
    assert (first.progress, first.cluster) == (second.progress, second.cluster)


@EACH
def test_a_part_of_the_models_own_stays_and_goes_on_in_every_phase(entry: Entry, tmp_path: Path) -> None:
    """Of a phase that trains it, and of one that does not."""
    strategy, row, _ = of(entry)
    if row.sharing == "all but normalisation":
        not_applicable("the toy has no normalisation layers")
    if row.sharing == "all but the personal parts":
        strategy = validate_strategy({**strategy, "personal": ["adapter"]}, "test")
    before: Arrays = {}
    for number, where in ((1, 0), (2, 0), (3, 1)):
        model = TwoPhases(Frozen(), setting())
        personal, phase = personal_arrays(model, strategy), model.phases()[where]
        # What is personal is sent once.
        first = {name: array for name, array in model.share().items() if number == 1 or name not in personal}
        models = [first, {name: array + np.float32(0.1) for name, array in first.items()}]
        job = Round(
            model,
            People(2),
            Settings(phase, 0, "a", number, epochs=1, learning_rate=0.05, optimiser="sgd"),
            Offer(
                tuple(models if row.offers_every_cluster else models[:1]), step_of(strategy).beside(Progress([first]))
            ),
            personal,
            configure(strategy)[1],
            PersonalStore(tmp_path),
            number - 1,
        )
        outcome = trained(job, entry)
        assert set(outcome.arrays) == model.arrays_of(phase) - personal
        mine = {name: array for name, array in kept(job).items() if name in personal}
        assert mine.keys() == personal
        if where == 0:
            assert any((mine[name] != array).any() for name, array in {**first, **before}.items() if name in personal)
        elif not row.beside_a_personal_model:
            assert_same(mine, before)  # this phase does not train it
        before = mine


class Killed(Exception):
    pass


@EACH
@pytest.mark.parametrize("done", range(1, 4 * BATCHES, 2))
def test_a_round_that_is_killed_after_any_batch_goes_on_to_the_same(entry: Entry, done: int, tmp_path: Path) -> None:
    whole = job_of(entry, tmp_path / "whole")
    expected = trained(whole, entry)
    killed = job_of(entry, tmp_path / "killed", checkpoints=tmp_path / "checkpoints")
    real, left = killed.model.batches, done

    def some(*given: Any) -> Iterator[Batch]:
        nonlocal left
        for batch in real(*given):
            if not left:
                raise Killed
            left -= 1
            yield batch

    killed.model.batches = some  # type: ignore[method-assign, assignment]
    try:
        trained(killed, entry)
    except Killed:
        assert not left
    again = job_of(entry, tmp_path / "killed", checkpoints=tmp_path / "checkpoints")
    found = trained(again, entry)
    assert_same(found.arrays, expected.arrays)
    assert_same(kept(again), kept(whole))
    assert (found.progress, found.cluster) == (expected.progress, expected.cluster)
