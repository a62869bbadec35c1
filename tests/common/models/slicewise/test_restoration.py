"""Restoration against closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor

from normfed_common.models.slicewise.restoration import LOOK_EVERY, RestorationConfig, restore, total_variation

RNG = np.random.default_rng(0)
PIXELS, LATENT, BETA = 12, 3, 0.7


def linear_gaussian() -> tuple[Tensor, Tensor]:
    """A linear encoder (3, 12) and decoder (12, 3), float64."""
    encoder, decoder = RNG.standard_normal((LATENT, PIXELS)), RNG.standard_normal((PIXELS, LATENT))
    return torch.from_numpy(encoder / 4), torch.from_numpy(decoder / 4)


ENCODER, DECODER = linear_gaussian()
IMAGES = torch.from_numpy(RNG.standard_normal((5, 1, 3, 4)))


def negative_elbo(images: Tensor, which: Tensor) -> Tensor:
    """At the mean of the latent, of a Gaussian of variance 1, constants left out."""
    flat = images.flatten(1)
    latents = flat @ ENCODER.T
    return (flat - latents @ DECODER.T).square().sum(1) / 2 + BETA * latents.square().sum(1) / 2


def hessian() -> np.ndarray:
    left = np.eye(PIXELS) - (DECODER @ ENCODER).numpy()
    found: np.ndarray = left.T @ left + BETA * (ENCODER.T @ ENCODER).numpy()
    return found


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_every_step_is_that_of_the_linear_gaussian_model_in_closed_form(steps: int) -> None:
    """Of the energy u'Hu/2, gradient descent has u_k = (I - step H)^k u_0."""
    found = restore(IMAGES, negative_elbo, RestorationConfig(steps=steps, step=0.1, smoothness=0))
    contraction = np.linalg.matrix_power(np.eye(PIXELS) - 0.1 * hessian(), steps)
    np.testing.assert_allclose(found.flatten(1), IMAGES.flatten(1).numpy() @ contraction.T, rtol=1e-10, atol=1e-12)


def test_it_ends_at_the_maximum_a_posteriori_of_a_gaussian_prior() -> None:
    """With the energy |u - m|^2 / (2 v), and no smoothness, that is the prior's mean."""
    mean = torch.linspace(-1, 1, PIXELS, dtype=torch.float64).view(1, 3, 4)
    found = restore(
        IMAGES,
        lambda images, which: (images - mean).square().sum((1, 2, 3)) / (2 * 0.5),
        RestorationConfig(steps=400, step=0.1, smoothness=0),
    )
    torch.testing.assert_close(found, mean.expand_as(IMAGES), rtol=0, atol=1e-10)


def test_the_objective_never_rises_with_a_small_step() -> None:
    """The smoothness has a kink where nothing is changed, where a step may rise by what it is long."""
    steps = [0, *range(1, 60, 4)]
    values = []
    for number in steps:
        found = (
            restore(IMAGES, negative_elbo, RestorationConfig(steps=number, step=1e-3, smoothness=0.2))
            if number
            else IMAGES
        )
        values.append(negative_elbo(found, torch.arange(5)) + 0.2 * total_variation(found - IMAGES))
    falls = torch.stack(values).diff(dim=0)
    assert (falls < 1e-3).all()
    assert (values[-1] < values[0] - 0.01).all()


def test_total_variation_is_that_of_neighbours_along_both_axes() -> None:
    image = torch.tensor([[[[1.0, 2.0, 4.0], [1.0, 0.0, 4.0]], [[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]]])
    assert total_variation(image).tolist() == [(0 + 2 + 0) + (1 + 2 + 1 + 4) + 3 + (3 + 3)]


def test_smoothness_spreads_a_change_over_neighbours() -> None:
    """An energy that wants one pixel alone to change: with smoothness, what is changed has less variation."""
    target = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    target[..., 3, 4] = 1
    start = torch.zeros_like(target)

    def energy(images: Tensor, which: Tensor) -> Tensor:
        return (images - target).square().sum((1, 2, 3))

    rough, smooth = (
        restore(start, energy, RestorationConfig(steps=300, step=0.002, smoothness=weight)) for weight in (0.0, 0.2)
    )
    assert float(total_variation(smooth)) < 0.8 * float(total_variation(rough))


def test_a_slice_that_is_done_is_left_alone_and_the_others_go_on() -> None:
    """The first has nothing to gain from the start; the second is as if it were alone."""
    images = torch.stack([torch.zeros(1, 3, 4, dtype=torch.float64), IMAGES[0]])
    calls = []

    def energy(now: Tensor, which: Tensor) -> Tensor:
        calls.append(which.tolist())
        return negative_elbo(now, which) + 1

    config = RestorationConfig(steps=200, step=0.1, smoothness=0, tolerance=0.01)
    found = restore(images, energy, config)
    assert calls[0] == [0, 1]
    assert calls[LOOK_EVERY + 1] == [1]
    assert len(calls) < config.steps
    torch.testing.assert_close(found[1:], restore(images[1:], negative_elbo_plus_1, config), rtol=0, atol=1e-12)
    assert torch.equal(found[0], images[0])


def negative_elbo_plus_1(images: Tensor, which: Tensor) -> Tensor:
    return negative_elbo(images, which) + 1
