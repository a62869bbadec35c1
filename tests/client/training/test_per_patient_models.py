"""Every model trained so that people are protected: on whose scans, on which samples, and as plainly as without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from averaging import WIDTH, Averaging, Points, gradients, rule, settings
from learning import sum_up, training
from synthetic import People, setting
from toys import Centring

from normfed_client.training.loop import train
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.entries import build
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.studies import validate_learner
from normfed_common.study.base import Frozen

SMALL: dict[str, dict[str, Any]] = {
    "siamese": {"patch_size": 9, "pairs_per_subject": 20, "batch_size": 6},
    "autoencoder": {"size": 32, "filters": 8, "most_filters": 8, "latent": 4, "batch_size": 4, "dropout": 0.5},
    "vae": {"size": 32, "filters": 8, "most_filters": 8, "latent": 4, "batch_size": 4},
    "synthetic-anomalies": {"filters": 4, "batch_size": 3, "slabs_per_subject": 1},
    "diffusion-time": {"hidden": [8, 8], "voxels_per_subject": 20, "batch_size": 8, "pairs_per_subject": 50},
}


def small(name: str, **changes: Any) -> NormativeModel:
    return build(MODELS, validate_learner(MODELS, {"name": name, **SMALL[name], **changes}, "test"), setting())


def ready(name: str, people: People, **changes: Any) -> NormativeModel:
    model = small(name, **changes)
    sum_up(model, people)
    return model


@pytest.mark.parametrize("name", SMALL)
def test_without_noise_and_norm_every_model_is_trained_plainly_on_the_same_batches_bit_for_bit(name: str) -> None:
    """Plainly: the mean gradient of people, each that of their mean loss, in steps of torch's Adam."""
    people = People(4)
    model, again = ready(name, people), ready(name, people)
    size = model.people_per_sample("training")
    seen: list[tuple[tuple[int, ...], Batch, int]] = []
    loss = model.loss

    def noting(phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        seen.append((tuple(sorted(set(batch.person.flatten().tolist()))), batch, rng.initial_seed()))
        return loss(phase, batch, rng)

    model.loss = noting  # type: ignore[method-assign]
    steps, groups = 2, 4 // size
    protecting = rule(times=steps, samples=6)
    train(model, people, replace(settings(protecting, learning_rate=0.01), phase=training(model)))
    assert again.network is not None
    again.network.train()
    optimiser = torch.optim.Adam(again.network.parameters(), lr=0.01, fused=True)
    by_group: list[list[tuple[Batch, int]]] = []
    for number, (whose, batch, seed) in enumerate(seen):
        assert len(whose) <= size
        full = number and sum(len(one) for one, _ in by_group[-1]) < 6 * size and whose == seen[number - 1][0]
        if not full:
            by_group.append([])
        by_group[-1].append((batch, seed))
    assert len(by_group) == steps * groups
    for step in range(steps):
        total = [torch.zeros_like(p, dtype=torch.float64) for p in again.network.parameters()]
        for batches in by_group[step * groups : (step + 1) * groups]:
            again.network.zero_grad()
            count = sum(len(batch) for batch, _ in batches)
            assert count <= 6 * size
            for batch, seed in batches:
                (again.loss("training", batch, torch.Generator().manual_seed(seed)).sum() / count).backward()
            for one, p in zip(total, again.network.parameters(), strict=True):
                one += 0 if p.grad is None else p.grad.double()
        for one, p in zip(total, again.network.parameters(), strict=True):
            p.grad = (one / groups).float()
        optimiser.step()
    for (key, one), other in zip(model.network.state_dict().items(), again.network.state_dict().values(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other), key


@pytest.mark.parametrize("name", SMALL)
def test_a_model_sees_nobody_but_the_people_of_a_group(name: str) -> None:
    people = People(5)
    model = ready(name, people)
    opened: list[int] = []
    asked: list[set[int]] = []
    real, batches = people.scan, model.batches

    def noting(phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        opened.clear()
        for batch in batches(phase, cohort, rng):
            assert set(batch.person.flatten().tolist()) <= set(opened)
            yield batch
        asked.append(set(opened))

    people.scan = lambda index: (opened.append(index), real(index))[1]  # type: ignore[method-assign, func-returns-value]
    model.batches = noting  # type: ignore[method-assign]
    size = model.people_per_sample("training")
    train(model, people, replace(settings(rule(times=3), learning_rate=0.01), phase=training(model)))
    assert len(asked) == 3 * (5 // size)
    assert {len(whose) for whose in asked} == {size}


def without_noise(model: Any, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
    """A variational auto-encoder's loss, which draws nothing."""
    found: torch.Tensor = model.negative_elbo(batch.data["slices"], batch.data["counts"], None)
    return found


def test_a_scan_behind_a_transform_is_transformed_once_however_often_its_person_is_drawn() -> None:
    people, done = People(4), []

    class Marking(Centring):
        def transform(self, scan: Scan) -> Scan:
            done.append(scan.person)
            return super().transform(scan)

    transform = Marking(Frozen(), setting())
    entry = validate_learner(MODELS, {"name": "siamese", **SMALL["siamese"]}, "test")
    siamese = build(MODELS, entry, replace(setting(), value_range=transform.value_range))
    model = Pipeline([transform], siamese)
    sum_up(model, people)
    done.clear()
    train(model, people, replace(settings(rule(times=5)), phase=training(model)))
    assert sorted(done, key=lambda person: person.index) == [Person(number) for number in range(4)]  # without ages


def test_how_samples_are_batched_changes_nothing_but_rounding() -> None:
    people, found = People(3), []
    for batch_size in (1, 4, 100):
        model = small("vae", batch_size=batch_size, dropout=0.0)
        model.loss = partial(without_noise, model)  # type: ignore[method-assign]
        found.append(gradients(model, people, rule(clip_norm=1.0, samples=5)))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("together", "most"), [(1, 3), (2, 6)])
def test_no_more_samples_of_a_person_are_used_than_the_study_says(together: int, most: int) -> None:
    """Of the points 0, 1, 2, ... of everybody the mean of the first ones."""
    cohort = Points([np.tile(np.arange(9, dtype=np.float32)[:, None], WIDTH)] * 2)
    model = Averaging(batch_size=2)
    model.together = together
    if together == 2:
        cohort.points = [cohort.points[0], np.zeros((9, WIDTH), np.float32)]
    found = gradients(model, cohort, rule(samples=3))[0]
    assert abs(found[0]) == pytest.approx((most - 1) / 2)
