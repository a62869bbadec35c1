"""The gradients that protect people are those of opacus, and without noise and norm those of plain training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from averaging import TRAINING, WIDTH, Averaging, Points, gradients, points, rule, settings
from opacus.grad_sample import GradSampleModule

from normfed_client.training.gradients import GradientRule
from normfed_client.training.loop import Settings, train
from normfed_common.learning.batch import Batch


def mlp() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, 4), torch.nn.Tanh(), torch.nn.Linear(4, WIDTH))


class Network(Averaging):
    """|f(x) - x|^2 of a network of two layers."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.network = self.net = mlp().to(self.setting.device)
        self.parts = {"all": self.network}

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        return (self.net(batch.data["x"]) - batch.data["x"]).square().sum(1)


def per_sample(x: np.ndarray) -> np.ndarray:
    """Gradients by opacus' hooks, float64 (n, all parameters)."""
    hooked = GradSampleModule(mlp(), loss_reduction="sum")
    inputs = torch.from_numpy(x)
    (hooked(inputs) - inputs).square().sum().backward()
    grads = [parameter.grad_sample.flatten(1) for parameter in hooked.parameters()]
    return torch.cat(grads, 1).double().numpy()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_gradient_of_a_step_is_that_of_opacus_clipped_by_person_or_by_sample(batch_size: int) -> None:
    cohort, clip_norm = points(5), 3.0
    each = [per_sample(person) for person in cohort]  # type: ignore[arg-type]

    def clipped(vectors: np.ndarray) -> np.ndarray:
        return vectors * np.minimum(1, clip_norm / np.linalg.norm(vectors, axis=1, keepdims=True))

    people = clipped(np.stack([vectors.mean(0) for vectors in each]))
    assert not np.allclose(people, [vectors.mean(0) for vectors in each])  # somebody is clipped
    protecting = rule(clip_norm=clip_norm, samples=4)
    found = gradients(Network(batch_size=batch_size), Points(cohort), replace(protecting))[0]
    np.testing.assert_allclose(found, people.mean(0), rtol=1e-4, atol=1e-5)
    samples = clipped(np.concatenate(each))
    found = gradients(Network(batch_size=batch_size), Points(cohort), replace(protecting, unit="sample"))[0]
    np.testing.assert_allclose(found, samples.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_of_one_person_without_noise_and_norm_it_is_plain_training_bit_for_bit(optimiser: Any) -> None:
    """A step per epoch: everybody is in every step."""
    cohort, weights = Points(points(1, samples=7)), []
    for trained in (settings(rule(times=5)), replace(settings(rule()), rule=plain(), epochs=5)):
        model = Network()
        train(model, cohort, replace(trained, learning_rate=0.01, optimiser=optimiser))
        weights.append(model.share())
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name], err_msg=name)


def test_of_several_people_without_noise_and_norm_it_is_plain_training_bit_for_bit_where_sums_are_exact() -> None:
    """Integers, a rate of a half, and powers of two of people and samples: no order of additions rounds."""
    cohort, weights = Points(points(4, samples=2)), []
    for trained in (settings(rule(times=4)), replace(settings(rule()), rule=plain(), epochs=4)):
        model = Averaging()
        train(model, cohort, replace(trained, learning_rate=0.5, optimiser="sgd"))
        weights.append(model.share()["network.weight.weight"])
    assert weights[0].any()
    np.testing.assert_array_equal(*weights)


def plain() -> GradientRule:
    return Settings(TRAINING, 1, "a", 1, 1, 0.1).rule


def test_the_personal_half_of_a_network_has_its_share_of_one_clipped_gradient() -> None:
    """All parameters that a step trains are one vector, so what stays is no way around the norm."""
    found = gradients(Network(), Points(points(3)), rule(clip_norm=0.1))[0]
    assert np.linalg.norm(found.astype(np.float64)) <= 0.1
    assert all(part.any() for part in np.split(found, [16]))
