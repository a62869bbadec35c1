"""On what scale one-class scores are: never negative, and minus a decision value plus one constant for everybody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import sum_up
from sklearn.svm import OneClassSVM
from synthetic import People, scan, setting

from normfed_common.learning.entries import build
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.siamese import Siamese
from normfed_common.scoring.location import LocationHead


def learned(entry: dict[str, Any], people: People) -> NormativeModel:
    """A model with its sums and its site's part, as it scores."""
    model = build(MODELS, entry, setting())
    sum_up(model, people)
    model.personalise(people, np.random.default_rng(0))
    return model


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.floats(0.01, 0.95), st.integers(5, 120), st.integers(1, 20), st.floats(0.01, 30))
def test_no_decision_value_exceeds_a_quarter_of_the_sum_of_coefficients(
    seed: int, nu: float, count: int, dimension: int, spread: float
) -> None:
    """The bound that makes scores non-negative, against libsvm where it is hardest: among the samples and between."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((count, dimension))
    oracle = OneClassSVM(nu=nu, gamma=1 / (dimension * spread)).fit(samples)
    places = np.concatenate([samples, samples.mean(0, keepdims=True), 0.1 * samples])
    assert oracle.dual_coef_.sum() == pytest.approx(nu * count)
    assert oracle.decision_function(places).max() <= nu * count / 4 * (1 + 1e-3) + 1e-3


def test_scores_of_the_persons_own_machines_are_minus_the_decision_value_plus_one_constant_for_everybody() -> None:
    model = build(MODELS, {"name": "siamese", "patch_size": 9, "one_class": {"samples": 200, "models": 1}}, setting())
    assert isinstance(model, Siamese)
    for seed in (0, 1):
        field = model.encode(scan(np.random.default_rng(seed)))
        latents = field.latents.numpy()
        chosen = np.random.default_rng(5).choice(len(latents), 200, replace=False)
        decision = OneClassSVM(nu=0.03, gamma="scale").fit(latents[chosen]).decision_function(latents)
        found = model.head.score(field, np.random.default_rng(5))
        np.testing.assert_allclose(found, 0.03 * 200 / 4 - decision, atol=1e-5)


def test_scores_of_the_federated_machine_are_minus_the_decision_value_plus_one_constant() -> None:
    model = learned(
        {"name": "siamese", "patch_size": 9, "one_class": {"fit_on": "federated", "features": 64}}, People(4)
    )
    assert isinstance(model, Siamese)
    constants = []
    for seed in (0, 1):
        field = model.encode(scan(np.random.default_rng(seed)))
        head: Any = model.head
        decision = (head._map(field.latents) @ torch.from_numpy(head.weights).float()).numpy()
        constants.append(head.score(field, np.random.default_rng(0)) + decision)
    everything = np.concatenate(constants)
    assert np.ptp(everything) < 1e-5
    assert everything.mean() == pytest.approx((2 / 64) ** 0.5 * np.abs(head.weights).sum(), rel=1e-5)


def location(minimum_subjects: int, people: People) -> tuple[Siamese, LocationHead]:
    entry = {"fit_on": "location", "minimum_subjects": minimum_subjects, "spacing_mm": 4.0}
    model = learned({"name": "siamese", "patch_size": 9, "one_class": entry}, people)
    assert isinstance(model, Siamese)
    assert isinstance(model.head, LocationHead)
    return model, model.head


def test_a_place_without_a_machine_ranks_like_places_with_one() -> None:
    """Normal tissue of people whom the site never saw: mean rank of machineless voxels among those with a machine."""
    model, head = location(12, People(12))
    ranks = []
    for seed in range(20, 26):
        field = model.encode(scan(np.random.default_rng(seed)))
        alone = ~np.isin(head._cell_of(field.index), list(head.machines))
        assert 0 < alone.sum() < len(alone) / 2
        scores = head.score(field, np.random.default_rng(0))
        below = (scores[~alone][None] < scores[alone][:, None]).mean(1)
        ranks.append(below.mean())
    assert 0.25 < np.mean(ranks) < 0.75


def test_a_place_without_a_machine_keeps_the_order_of_its_distances_on_the_machines_scale() -> None:
    model, head = location(12, People(12))
    field = model.encode(scan(np.random.default_rng(30)))
    where = head._cell_of(field.index)
    alone = ~np.isin(where, list(head.machines))
    scores = head.score(field, np.random.default_rng(0))
    gaussian = location(100, People(12))[1].score(field, np.random.default_rng(0))  # too few people for machines
    order = np.argsort(gaussian[alone])
    assert (np.diff(scores[alone][order]) >= -1e-5).all()
    assert scores[alone].max() <= head.scores[-1]  # beyond what normal people reach there is no scale
