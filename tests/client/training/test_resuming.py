"""Training that dies in the middle of a round goes on and gives the same weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from flips import flip
from learning import training
from synthetic import People, setting

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.corrections import Proximal
from normfed_client.training.gradients import Draws, GradientRule, Step
from normfed_client.training.loop import Settings, train
from normfed_client.training.per_patient import PerPatient
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.entries import build
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.studies import validate_learner

ENTRY = validate_learner(
    MODELS, {"name": "siamese", "patch_size": 9, "pairs_per_subject": 40, "batch_size": 10}, "test"
)


DROPPING = {"name": "autoencoder", "size": 32, "filters": 8, "most_filters": 8, "latent": 4, "batch_size": 3}


DROPPING = validate_learner(MODELS, {**DROPPING, "norm": "batch", "dropout": 0.5}, "test")


TRAINING = Phase("training", "averaged")


STEPS = 12  # of two epochs over three people's six slices each


class Killed(Exception):
    pass


def settings(folder: Path | None, optimiser: str) -> Settings:
    checkpoints = None if folder is None else TrainingCheckpoints(folder, every_s=0.0)
    return Settings(TRAINING, 1, "a", 2, epochs=2, learning_rate=1e-3, optimiser=optimiser, checkpoints=checkpoints)  # type: ignore[arg-type]


def killed_after(model: NormativeModel, batches: int) -> None:
    real = model.batches

    def some(*arguments: Any) -> Iterator[Any]:
        nonlocal batches
        for batch in real(*arguments):
            if batches == 0:
                raise Killed
            batches -= 1
            yield batch

    model.batches = some  # type: ignore[method-assign]


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("steps", [1, 7, 19])
@pytest.mark.parametrize("pulled", [False, True])
def test_interrupted_training_gives_the_same_weights(tmp_path: Path, optimiser: str, steps: int, pulled: bool) -> None:
    people = People(3)

    def correction(model: NormativeModel) -> Proximal | None:
        assert model.network is not None
        return Proximal(0.1, [p.detach().clone() for p in model.network.parameters()]) if pulled else None

    whole = build(MODELS, ENTRY, setting())
    expected = train(whole, people, settings(None, optimiser), correction(whole))
    first = build(MODELS, ENTRY, setting())
    killed_after(first, steps)
    with pytest.raises(Killed):
        train(first, people, settings(tmp_path, optimiser), correction(first))
    second = build(MODELS, ENTRY, setting())
    drawn: list[int] = []
    loss = second.loss
    second.loss = lambda *given: (drawn.append(1), loss(*given))[1]  # type: ignore[method-assign, func-returns-value]
    found = train(second, people, settings(tmp_path, optimiser), correction(second))
    assert found == expected
    assert len(drawn) == expected.steps - steps  # what was done is not done again
    for name, array in whole.share().items():
        np.testing.assert_array_equal(array, second.share()[name], err_msg=name)


def assert_resumed_at(step: int, folder: Path, site: str, optimiser: str = "adam") -> None:
    """Training of a network with dropout and running statistics, killed before a step, ends like one that was not."""
    people, whole = People(3), build(MODELS, DROPPING, setting())
    expected = train(whole, people, replace(settings(None, optimiser), site=site))
    assert expected.steps == STEPS
    killed = build(MODELS, DROPPING, setting())
    killed_after(killed, step)
    resuming = replace(settings(folder, optimiser), site=site)
    with pytest.raises(Killed):
        train(killed, people, resuming)
    again = build(MODELS, DROPPING, setting())
    assert train(again, people, replace(settings(folder, optimiser), site=site)) == expected
    for name, array in whole.share().items():
        np.testing.assert_array_equal(array, again.share()[name], err_msg=f"step {step}: {name}")


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_training_with_dropout_killed_at_any_step_gives_the_same_weights(tmp_path: Path, optimiser: str) -> None:
    for step in range(1, STEPS):
        assert_resumed_at(step, tmp_path / str(step), "a", optimiser)


def test_models_trained_at_the_same_time_in_one_process_do_not_disturb_each_others_dropout(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(assert_resumed_at, step, tmp_path / str(step), site) for step, site in ((5, "a"), (7, "b"))]
        for job in jobs:
            job.result()


@pytest.mark.parametrize("entry", [ENTRY, DROPPING], ids=lambda entry: entry["name"])
def test_training_draws_nothing_from_torchs_global_stream(entry: dict[str, Any]) -> None:
    model = build(MODELS, entry, setting())
    before = torch.get_rng_state()
    train(model, People(2), settings(None, "adam"))
    assert torch.equal(torch.get_rng_state(), before)


class DiesAfter:
    """A rule that takes so many steps of another one."""

    tells_loss = False

    def __init__(self, rule: PerPatient, steps: int) -> None:
        self.rule, self.taken = rule, steps

    def passes(self, epochs: int) -> int:
        return self.rule.passes(epochs)

    def divided(self, epochs: Sequence[int]) -> Sequence[GradientRule]:
        return self.rule.divided(epochs)

    def steps(self, draws: Draws, cohort: Cohort, epochs: int) -> Iterator[Step]:
        made = self.rule.steps(draws, cohort, epochs)  # as the rule itself, before anything else
        return itertools.chain(itertools.islice(made, self.taken), self._death())

    def _death(self) -> Iterator[Step]:
        raise Killed
        yield


@pytest.mark.parametrize("unit", ["patient", "sample"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_training_that_protects_people_draws_the_same_lots_and_noise_after_a_crash(
    tmp_path: Path, unit: Literal["patient", "sample"], step: int
) -> None:
    rule = PerPatient(bytes(32), SampledGaussian(0.5, 0.6, times=6), 1.0, samples=5, unit=unit)

    def trained(folder: Path | None, until: int = 6) -> dict[str, np.ndarray]:
        model = build(MODELS, ENTRY, setting())
        chosen: GradientRule = replace(rule) if until == 6 else DiesAfter(replace(rule), until)
        train(model, People(6), replace(settings(folder, "adam"), rule=chosen))
        return model.share()

    expected = trained(None)
    with pytest.raises(Killed):
        trained(tmp_path, step)
    assert list(tmp_path.iterdir())  # there is a checkpoint to go on from
    found = trained(tmp_path)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_every_step_of_every_site_and_round_has_masks_of_its_own() -> None:
    seen = set()

    def drawn(site: str, round: int) -> None:
        model = build(MODELS, DROPPING, setting())
        loss = model.loss
        model.loss = lambda phase, batch, rng: (seen.add(rng.initial_seed()), loss(phase, batch, rng))[1]  # type: ignore[method-assign, func-returns-value]
        train(model, People(3), replace(settings(None, "adam"), site=site, round=round))

    for site, round in (("a", 1), ("a", 2), ("b", 1)):
        drawn(site, round)
    assert len(seen) == 3 * STEPS


def test_a_second_training_of_a_request_has_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    checkpoints = TrainingCheckpoints(tmp_path, 0.0)
    assert checkpoints.next().path != checkpoints.next().path


def test_a_damaged_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    people, whole, again = People(2), build(MODELS, ENTRY, setting()), build(MODELS, ENTRY, setting())
    train(whole, people, settings(tmp_path, "adam"))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    train(again, people, settings(tmp_path, "adam"))
    for name, array in whole.share().items():
        np.testing.assert_array_equal(array, again.share()[name])


def test_a_full_disk_does_not_end_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("normfed_client.training.checkpoints.named.save", full)
    model = build(MODELS, ENTRY, setting())
    assert train(model, People(2), settings(tmp_path, "adam")).steps == 16
    assert torch.isfinite(torch.cat([p.detach().reshape(-1) for p in model.network.parameters()])).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["flipped", "cut short"])
def test_training_whose_checkpoint_was_damaged_begins_again_and_gives_the_same_weights(
    tmp_path: Path, said: list[str], damage: str
) -> None:
    def trained(folder: Path | None) -> dict[str, np.ndarray]:
        model = build(MODELS, ENTRY, setting())
        checkpoints = TrainingCheckpoints(folder, every_s=0.0) if folder is not None else None
        train(model, People(2), Settings(training(model), 1, "a", 2, 1, 1e-3, most_steps=4, checkpoints=checkpoints))
        return model.share()

    trained(tmp_path)  # is whole; what is left is a checkpoint of its last step
    (path,) = tmp_path.iterdir()
    if damage == "flipped":
        flip(path)
    else:
        path.write_bytes(path.read_bytes()[:100])
    again, expected = trained(tmp_path), trained(None)
    assert all(np.array_equal(again[name], expected[name]) for name in expected)
    assert "this training begins again" in said[0]
    TrainingCheckpoints(tmp_path, 0.0).clear()
    assert [p.name.partition(".damaged-")[0] for p in tmp_path.iterdir()] == [path.name]  # a person may look at it
