"""Estimation of diffusion times on latents of patches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learning import sum_up, training
from synthetic import SHAPE, People, setting

from normfed_common.foundation.errors import StudyError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.diffusion_time import DiffusionTime
from normfed_common.models.patchwise.patches import extract, normal_locations, siamese_batches
from normfed_common.studies import validate_learner

SMALL = {"patch_size": 5, "latents": 4, "pairs_per_subject": 300, "hidden": [32, 32]}


def learned(people: People, **values: Any) -> DiffusionTime:
    """With its sums, and the first weights of its network."""
    made = build(MODELS, {"name": "diffusion-time", **SMALL, **values}, setting())
    assert isinstance(made, DiffusionTime)
    sum_up(made, people)
    return made


def trained(people: People, epochs: int, **values: Any) -> DiffusionTime:
    made = learned(people, **values)
    optimiser = torch.optim.Adam(made.times.parameters(), 3e-3)
    made.times.train()
    for epoch in range(epochs):
        for batch in made.batches("training", people, np.random.default_rng(epoch)):
            optimiser.zero_grad()
            made.loss("training", batch, torch.Generator()).mean().backward()
            optimiser.step()
    return made


def test_score_and_uncertainty_are_mean_and_deviation_of_the_bin_and_0_outside_the_brain() -> None:
    people = People(2)
    made = learned(people, bins=3)
    with torch.no_grad():
        made.times.output.weight.zero_()
        made.times.output.bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
    found, mask = made.score([people.scan(0)], np.random.default_rng(0)), people.scan(0).mask
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.anomaly[mask], 0.5 + 2 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(found.uncertainty[mask], (0.2 * 1.1**2 + 0.5 * 0.1**2 + 0.3 * 0.9**2) ** 0.5, rtol=1e-6)
    assert not found.anomaly[~mask].any()
    assert not found.uncertainty[~mask].any()


@pytest.mark.parametrize("location", ["ignored", "coordinates", "gaussian"])
def test_what_is_unlike_normal_tissue_has_later_times(location: str) -> None:
    people = People(4)
    made = trained(people, 3, location=location, voxels_per_subject=2000)
    one = People(1, seed=9).scan(0)
    ill = one.images.copy()
    ill[:, 12:15, 13:16, 2:5] += 2.0
    normal, changed = (
        made.score([replace(one, images=images)], np.random.default_rng(0)).anomaly for images in (one.images, ill)
    )
    assert changed[13, 14, 3] > normal[13, 14, 3] + 1
    assert changed[13, 14, 3] > np.quantile(normal[one.mask], 0.99)
    np.testing.assert_array_equal(changed[:8], normal[:8])


def test_patches_that_are_drawn_have_the_latents_of_their_voxels() -> None:
    people = People(2)
    encoder, one = learned(people).latents.encoder, people.scan(0)
    index = normal_locations(one, 200, 5, np.random.default_rng(0))
    np.testing.assert_allclose(
        encoder.encode_patches(extract(one.images, index, 5)), encoder.encode(one, index), atol=1e-4
    )


def test_latents_have_variance_1_over_the_patches_that_were_summed() -> None:
    people = People(3)
    made = learned(people, location="ignored")
    pairs = np.concatenate([pairs for pairs, _ in siamese_batches(people, 300, 300, 5, np.random.default_rng(0))])
    vectors = made._standardised(made.latents.encoder.encode_patches(pairs.reshape(-1, 2, 5, 5)), np.zeros(0))
    np.testing.assert_allclose(vectors.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(vectors.T, bias=True), np.eye(4), atol=1e-3)


def test_a_direction_without_variance_says_nothing_instead_of_rounding_at_a_large_scale() -> None:
    """Two modalities that are one have half as many directions as numbers."""
    people = People(3)
    for number in range(3):
        one = people.scan(number)
        one.images[1] = one.images[0]
    made = learned(people, location="ignored", patch_size=3, latents=12)
    assert made.latents.encoder.eigenvalues[9:].max() < 1e-9
    one = people.scan(0)
    index = np.asarray(one.normal_index)
    vectors = made._standardised(made.latents.encoder.encode(one, index), index)
    assert np.abs(vectors[:, 9:]).max() < 0.1
    assert vectors[:, :9].std() == pytest.approx(1, abs=0.2)


def test_a_place_larger_than_any_head_is_refused_with_the_study() -> None:
    with pytest.raises(StudyError, match="spacing_mm"):
        validate_learner(MODELS, {"name": "diffusion-time", "spacing_mm": 1001.0}, "model")


def test_latents_have_variance_1_at_their_place() -> None:
    """On the average of places large enough for interpolation between them to change little."""
    people = People(3)
    made = learned(people, location="gaussian", spacing_mm=8.0)
    scans = [people.scan(number) for number in range(3)]
    vectors = np.concatenate(
        [made._standardised(made.latents.encoder.encode(one, one.normal_index), one.normal_index) for one in scans]
    )
    np.testing.assert_allclose((vectors**2).mean(0), 1, atol=0.1)


def test_a_batch_mixes_people_and_repeats_with_its_generator() -> None:
    people = People(3)
    made = learned(people, voxels_per_subject=50, batch_size=40)
    found, again = (list(made.batches("training", people, np.random.default_rng(0))) for _ in range(2))
    assert [len(batch) for batch in found] == [40, 40, 40, 30]
    for one, other in zip(found, again, strict=True):
        assert set(one.person.ravel().tolist()) == {0, 1, 2}
        assert all(torch.equal(one.data[name], other.data[name]) for name in one.data)
    assert sorted(torch.cat([batch.person for batch in found]).ravel().tolist()) == [0] * 50 + [1] * 50 + [2] * 50


def test_coordinates_are_inputs_without_noise_from_end_to_end_of_the_grid() -> None:
    people = People(2)
    made = learned(people, location="coordinates")
    ends = made._with_place(np.zeros((2, 4), np.float32), np.array([0, np.prod(SHAPE) - 1]))
    np.testing.assert_allclose(ends[:, 4:], [[1 / n - 1 for n in SHAPE], [1 - 1 / n for n in SHAPE]], rtol=1e-6)
    grid = {
        tuple(row) for row in made._with_place(np.zeros((int(np.prod(SHAPE)), 4)), np.arange(np.prod(SHAPE)))[:, 4:]
    }
    batch = next(made.batches("training", people, np.random.default_rng(0)))
    assert {tuple(row) for row in batch.data["noisy"][:, 4:].double().tolist()} <= {
        tuple(np.float64(value) for value in row) for row in grid
    }


def test_only_gaussians_need_sums_of_places() -> None:
    people = People(2)
    names = {
        location: [phase.name for phase in learned(people, location=location).phases()]
        for location in ("ignored", "coordinates", "gaussian")
    }
    assert names["ignored"] == names["coordinates"] == ["patches", "training"]
    assert names["gaussian"] == ["patches", "places", "training"]
    assert training(learned(people)).name == "training"


def test_a_spacing_of_places_that_are_not_used_is_refused() -> None:
    with pytest.raises(StudyError, match="spacing_mm says nothing where location is coordinates"):
        validate_learner(MODELS, {"name": "diffusion-time", "location": "coordinates", "spacing_mm": 8.0}, "model")


@pytest.mark.parametrize("wrong", [{"hidden": []}, {"hidden": [0]}, {"patch_size": 8}, {"bins": 1}, {"dropout": 1.0}])
def test_parameters_of_no_network_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(wrong))):
        validate_learner(MODELS, {"name": "diffusion-time", **wrong}, "model")
