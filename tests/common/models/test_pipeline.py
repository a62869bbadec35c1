"""Transforms and the model behind them are learnt as one model, each on what those before it make of a scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning import sum_up
from synthetic import People, setting, split
from toys import Centring, Mixture, MixtureConfig, TwoPhases, normal_values

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.learner import NETWORK, Learner
from normfed_common.models.pipeline import Pipeline
from normfed_common.study.base import Frozen


def pipeline() -> Pipeline:
    return Pipeline([Centring(Frozen(), setting()), Centring(Frozen(), setting())], Mixture(MixtureConfig(), setting()))


def test_the_transforms_phases_come_first_and_the_models_see_what_they_make() -> None:
    made, people = pipeline(), People(3)
    assert [phase.name for phase in made.phases()] == ["transform-1-means", "transform-2-means", "model-em"]
    sum_up(made, people)
    first, second = made.transforms
    assert isinstance(first, Centring)
    assert isinstance(second, Centring)
    values = np.concatenate([normal_values(scan) for scan in people.scans], 1)
    np.testing.assert_allclose(first.mean, values.mean(1), rtol=1e-6)
    np.testing.assert_allclose(second.mean, 0, atol=1e-6)  # what comes after the first is centred
    alone, centred = Mixture(MixtureConfig(), setting()), People(3)
    centred.scans = [second.transform(first.transform(scan)) for scan in people.scans]
    sum_up(alone, centred)
    assert isinstance(made.model, Mixture)
    np.testing.assert_array_equal(made.model.means, alone.means)


def test_a_scan_is_scored_as_the_model_scores_what_the_transforms_make_of_it() -> None:
    made, people = pipeline(), People(3)
    sum_up(made, people)
    first, second = made.transforms
    rng = np.random.default_rng
    expected = made.model.score([second.transform(first.transform(people.scan(1)))], rng(0))
    found = made.score([people.scan(0), people.scan(1)], rng(0))
    np.testing.assert_array_equal(found.anomaly, expected.anomaly)


def test_sums_of_sites_give_the_pipeline_of_everybody() -> None:
    pooled, federated, people = pipeline(), pipeline(), People(4)
    for phase in pooled.phases():
        whole = pooled.statistics(phase.name, people, np.random.default_rng(0))
        pooled.absorb(phase.name, whole)
        parts = [federated.statistics(phase.name, part, np.random.default_rng(0)) for part in split(people, 1, 3)]
        federated.absorb(phase.name, {name: np.sum([part[name] for part in parts], 0) for name in whole})
    for name, array in pooled.share().items():
        np.testing.assert_allclose(federated.share()[name], array, rtol=1e-12, atol=1e-12)


def test_what_was_shared_is_taken_with_all_transforms() -> None:
    made, other, people = pipeline(), pipeline(), People(3)
    sum_up(made, people)
    other.load(made.share())
    scores = [one.score([people.scan(2)], np.random.default_rng(0)).anomaly for one in (made, other)]
    np.testing.assert_array_equal(*scores)


def test_sums_are_checked_once_when_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    made, fresh, checked = pipeline(), pipeline(), []
    sum_up(made, People(3))
    check = Learner.check

    def noted(learner: Learner, phase: str, sums: Arrays) -> None:
        checked.append(phase)
        check(learner, phase, sums)

    for kind in (Centring, Mixture, Pipeline):
        monkeypatch.setattr(kind, "check", noted)
    fresh.load(made.share())
    assert checked == ["means", "means", "em"]


def test_networks_keep_their_parts_under_their_learners_name_and_train_alone() -> None:
    made = Pipeline([Centring(Frozen(), setting())], TwoPhases(Frozen(), setting()))
    sum_up(made, People(2))
    assert set(made.parts) == {"model-encoder", "model-adapter", "model-decoder"}
    assert made.personal == ("model-adapter",)
    _, encoding, decoding = made.phases()
    assert encoding.parts == ("model-encoder", "model-adapter")
    assert made.arrays_of(decoding) == {f"{NETWORK}model.decoder.weight", f"{NETWORK}model.decoder.bias"}
    (batch, *_) = made.batches("model-decoding", People(2), np.random.default_rng(0))
    batch = batch.to(setting().device)
    inner = TwoPhases(Frozen(), setting())
    inner.network.load_state_dict(made.model.network.state_dict())  # type: ignore[union-attr]
    expected = inner.loss("decoding", batch, torch.Generator())
    assert torch.equal(made.loss("model-decoding", batch, torch.Generator()), expected)


def test_a_transforms_scan_stays_the_persons() -> None:
    transform, people = Centring(Frozen(), setting()), People(2)
    sum_up(transform, people)
    scan = replace(people.scan(0), person=replace(people.scan(0).person, age=44.0))
    assert transform.transform(scan).person == scan.person
