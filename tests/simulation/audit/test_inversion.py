"""What an update is turned back into."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from normfed_common.foundation import seeds
from normfed_common.learning.batch import Batch
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.models.siamese import Siamese, SiameseConfig
from normfed_simulation.audit.inversion import Step, gradient, linear_input, psnr, reconstructed

TRAINING = Phase("training", "averaged")


def test_the_input_of_a_linear_layer_is_exactly_in_its_gradient() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(12, 5).double(), torch.randn(12, dtype=torch.float64)
    layer(x).square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    torch.testing.assert_close(linear_input(layer.weight.grad, layer.bias.grad), x)


def test_a_layer_that_learnt_nothing_tells_nothing() -> None:
    assert not linear_input(torch.zeros(3, 4), torch.zeros(3)).any()


def siamese() -> Siamese:
    return Siamese(SiameseConfig(patch_size=9), Setting(("T1w",), 4, (20, 20, 20), seed=1))


def pair(seed: int = 0) -> Batch:
    """One sample: twice the same patch, as where a person is paired with themselves."""
    patch = torch.randn(1, 1, 1, 9, 9, generator=torch.Generator().manual_seed(seed))
    return Batch({"pairs": patch.expand(1, 2, 1, 9, 9).clone(), "two": torch.tensor([False])}, torch.tensor([[0, 0]]))


def test_a_patch_is_read_off_the_update_of_one_sample() -> None:
    model, batch = siamese(), pair()
    update = Step(adam=False).update(gradient(model, TRAINING, batch), torch.Generator())
    found = reconstructed(model, TRAINING, batch, update, seed=3)
    assert psnr(batch.data["pairs"][0], found, peak=6.0) > 60


def test_noise_on_the_update_hides_the_patch() -> None:
    model, batch = siamese(), pair()
    step = Step(adam=False, clip_norm=1.0, noise_multiplier=1.0)
    update = step.update(gradient(model, TRAINING, batch), torch.Generator().manual_seed(5))
    found = reconstructed(model, TRAINING, batch, update, seed=3)
    truth = batch.data["pairs"][0]
    assert psnr(truth, found, peak=6.0) < psnr(truth, torch.zeros_like(truth), peak=6.0)


def test_nothing_of_the_truth_is_looked_at() -> None:
    """The same update, with another truth beside it, is turned into the same."""
    model = siamese()
    update = gradient(model, TRAINING, pair(0))
    torch.testing.assert_close(
        reconstructed(model, TRAINING, pair(0), update, seed=3), reconstructed(model, TRAINING, pair(1), update, seed=3)
    )


def test_the_first_step_of_adam_shows_signs_only() -> None:
    parts = [torch.tensor([[1e-3, -2.0]]), torch.tensor([5.0])]
    found = Step(adam=True).update(parts, torch.Generator())
    torch.testing.assert_close(found[0], torch.tensor([[1.0, -1.0]]), rtol=1e-4, atol=0)
    torch.testing.assert_close(found[1], torch.tensor([1.0]))


def test_a_noised_step_is_clipped_and_has_the_noise_it_says() -> None:
    rng = seeds.torch_generator(0, "noise")
    flat = Step(False, clip_norm=2.0, noise_multiplier=0.5).update([torch.zeros(200_000)], rng)[0].numpy()
    assert flat.std() == pytest.approx(1.0, abs=0.01)
    long = Step(False, clip_norm=2.0, noise_multiplier=0.0).update([torch.full((4,), 100.0)], rng)[0].numpy()
    assert np.linalg.norm(long) == pytest.approx(2.0)
