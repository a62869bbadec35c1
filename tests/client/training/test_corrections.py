"""What algorithms add to a step, against autograd and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from normfed_client.training.corrections import Controlled, Proximal, tensors

SHAPES = ((3, 2), (4,), ())


def some(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def parameters() -> list[Parameter]:
    return [Parameter(tensor) for tensor in some(1)]


def own_loss(trained: list[Parameter]) -> torch.Tensor:
    return torch.stack([torch.sin(parameter).sum() for parameter in trained]).sum()


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_pull_is_autograds_gradient_of_half_the_squared_distance(weight: float) -> None:
    anchor, trained, expected = some(2), parameters(), parameters()
    own_loss(trained).backward()
    Proximal(weight, anchor).gradients(trained)
    distance = torch.stack([((w - a) ** 2).sum() for w, a in zip(expected, anchor, strict=True)]).sum()
    (own_loss(expected) + weight / 2 * distance).backward()
    for one, other in zip(trained, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
        assert torch.equal(one, other)  # the step is the optimiser's


def test_a_pulled_quadratic_ends_between_its_own_optimum_and_the_anchor() -> None:
    """min (w - b)^2 / 2 + mu (w - a)^2 / 2 is at (b + mu a) / (1 + mu)."""
    weight, goal, anchor, (trained,) = 3.0, 5.0, torch.tensor([1.0, -7.0]), [Parameter(torch.zeros(2))]
    pull, optimiser = Proximal(weight, [anchor]), torch.optim.SGD([trained], lr=0.2)
    for _ in range(60):
        optimiser.zero_grad()
        (0.5 * (trained - goal) ** 2).sum().backward()
        pull.gradients([trained])
        optimiser.step()
        pull.parameters([trained])
    torch.testing.assert_close(trained.detach(), (goal + weight * anchor) / (1 + weight))


def test_a_parameter_that_no_loss_touched_is_not_pulled() -> None:
    """Frozen parameters have no gradient; giving them one would train them."""
    trained = parameters()
    (trained[0] ** 2).sum().backward()
    Proximal(1.0, some(2)).gradients(trained)
    assert [parameter.grad is None for parameter in trained] == [False, True, True]


@pytest.mark.parametrize("steps", [1, 5])
def test_controlled_steps_of_sgd_are_the_papers(steps: int) -> None:
    """y -= rate (g(y) - c_i + c), Karimireddy 2020, Algorithm 1, line 10."""
    rate, server, own, trained = 0.1, some(3), some(4), parameters()
    correction = Controlled(rate, [c - c_i for c, c_i in zip(server, own, strict=True)])
    optimiser = torch.optim.SGD(trained, lr=rate)
    expected = [parameter.detach().clone() for parameter in trained]
    for _ in range(steps):
        optimiser.zero_grad()
        own_loss(trained).backward()
        correction.gradients(trained)
        optimiser.step()
        correction.parameters(trained)
        expected = [y - rate * (y.cos() - c_i + c) for y, c, c_i in zip(expected, server, own, strict=True)]
    for parameter, y in zip(trained, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), y)
        assert parameter.requires_grad


@pytest.mark.parametrize("correction", [Proximal(1.0, some(2)[:2]), Controlled(1.0, some(2)[:2])])
def test_a_correction_of_other_parameters_than_are_trained_is_no_step(correction: Proximal | Controlled) -> None:
    trained = parameters()
    own_loss(trained).backward()
    with pytest.raises(ValueError, match="zip"):
        (correction.gradients if isinstance(correction, Proximal) else correction.parameters)(trained)


def test_arrays_come_in_the_order_of_the_parameters_whatever_their_own_is() -> None:
    network = torch.nn.Linear(2, 3)
    arrays = {"unused": torch.zeros(1), "weight": torch.ones(3, 2), "bias": torch.full((3,), 2.0)}
    found = tensors(arrays, list(network.named_parameters()))
    assert [tuple(tensor.shape) for tensor in found] == [tuple(p.shape) for p in network.parameters()]
    assert [float(tensor.flatten()[0]) for tensor in found] == [1.0, 2.0]
    with pytest.raises(KeyError, match="bias"):
        tensors({"weight": arrays["weight"]}, list(network.named_parameters()))
