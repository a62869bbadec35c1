"""The U-Net: a slice's output is its own, and knows nothing to begin with."""

from __future__ import annotations

import pytest
import torch

from normfed_common.models.synthetic.unet import UNet

RNG = torch.Generator().manual_seed(0)


def test_a_slices_output_does_not_depend_on_the_batch() -> None:
    network, slices = UNet(9, 2, 8), torch.randn((5, 9, 16, 20), generator=RNG)
    whole = network(slices)
    assert whole.shape == (5, 2, 16, 20)
    for number in range(5):
        torch.testing.assert_close(network(slices[number : number + 1])[0], whole[number], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("filters", "parameters"), [(4, 5494), (8, 21066)])
def test_size_as_measured(filters: int, parameters: int) -> None:
    assert sum(p.numel() for p in UNet(9, 2, filters).parameters()) == parameters


@pytest.mark.parametrize("filters", [4, 8, 16, 32])
def test_begins_with_the_prior_where_weights_are_0(filters: int) -> None:
    network = UNet(3, 2, filters)
    with torch.no_grad():
        network.head.weight.zero_()
    network.expect_nothing()
    found = network(torch.randn((1, 3, 8, 8), generator=RNG))
    torch.testing.assert_close(found[:, 0], torch.full((1, 8, 8), -3.0))
    torch.testing.assert_close(found[:, 1], torch.zeros(1, 8, 8))


def test_a_far_voxel_is_seen_through_the_coarse_level() -> None:
    network, slices = UNet(1, 1, 8), torch.randn((1, 1, 32, 32), generator=RNG)
    slices.requires_grad_()
    gradient = torch.autograd.grad(network(slices)[0, 0, 16, 16], slices)[0][0, 0]
    assert gradient[16, 16 + 9].abs() > 0
