"""The U-Net of DeepHarmony, one for every view and group of modalities.

Dewey et al. 2019 (Magnetic Resonance Imaging 64:160), figure 2: 16, 32, 64, 128 and 256 features; 3 x 3 convolutions,
each followed by ReLU and batch normalisation, in that order; 4 x 4 convolutions of stride 2 downwards and transposed
ones upwards; skips and input are concatenated, the input before the last, 1 x 1 convolution, which so only amends it.
Here that convolution is the end: the published ReLU after it would cut off the negative half of normalised images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

VIEWS = ("sagittal", "coronal", "axial")  # in the order of the axes that they slice
LEVELS = 4  # halvings
MULTIPLE = 2**LEVELS  # of which the sides of a slice must be multiples
EPSILON = 1e-3  # of the batch normalisation in Keras, in which it was published


class ViewNetwork(nn.Module):
    """(N, inputs, X, Y) to (N, outputs, X, Y); sides must be multiples of `MULTIPLE`.

    Parameters
    ----------
    filters
        Of the first level; doubled by every level.
    """

    def __init__(self, inputs: int, outputs: int, filters: int) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(LEVELS + 1)]
        self.encoder = nn.ModuleList(_convolution(a, b) for a, b in pairwise((inputs, *widths)))
        self.down = nn.ModuleList(_halving(width) for width in widths[:-1])
        self.up = nn.ModuleList(_doubling(b, a) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(_convolution(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(filters + inputs, outputs, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """What the target scanner would show of slices of the source scanner."""
        x, skips = slices, []
        for level, down in enumerate(self.down):
            skips.append(self.encoder[level](x))
            x = down(skips[-1])
        x = self.encoder[LEVELS](x)
        for level in reversed(range(LEVELS)):
            x = self.decoder[level](torch.cat([skips[level], self.up[level](x)], 1))
        out: Tensor = self.head(torch.cat([x, slices], 1))
        return out


class ViewNetworks(nn.Module):
    """A network for every view and group of modalities.

    Parameters
    ----------
    groups
        Channels that go in, and those that come out, of every group; all groups' outputs are the channels
        of `forward`, in order.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[int], Sequence[int]]], filters: int) -> None:
        super().__init__()
        self.groups = tuple((tuple(inputs), tuple(outputs)) for inputs, outputs in groups)
        self.views = nn.ModuleDict(
            {
                view: nn.ModuleList(ViewNetwork(len(inputs), len(outputs), filters) for inputs, outputs in self.groups)
                for view in VIEWS
            }
        )

    def forward(self, view: str, slices: Tensor) -> Tensor:
        """(N, C, X, Y) of all modalities to (N, outputs of all groups, X, Y)."""
        networks = self.views[view]
        assert isinstance(networks, nn.ModuleList)
        found = [network(slices[:, list(inputs)]) for network, (inputs, _) in zip(networks, self.groups, strict=True)]
        return torch.cat(found, 1)

    def parts(self) -> dict[str, nn.Module]:
        """Encoders, decoders and last convolutions, each of all views and groups together."""
        networks = [network for network in self.modules() if isinstance(network, ViewNetwork)]
        return {
            "encoder": nn.ModuleList(part for network in networks for part in (network.encoder, network.down)),
            "decoder": nn.ModuleList(part for network in networks for part in (network.up, network.decoder)),
            "head": nn.ModuleList(network.head for network in networks),
        }

    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights: Glorot 2010, uniform, and biases of 0, as Keras does."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    @property
    def normalised_elsewhere(self) -> bool:
        """Whether the weights are trained and the batch normalisation is not: a strategy kept it at other sites."""
        biases = [network.head.bias for network in self.modules() if isinstance(network, ViewNetwork)]
        trained = any(bias is not None and bool(bias.any()) for bias in biases)
        means = [layer.running_mean for layer in self.modules() if isinstance(layer, nn.BatchNorm2d)]
        return trained and not any(mean is not None and bool(mean.any()) for mean in means)


def _after(layer: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.ReLU(inplace=True), nn.BatchNorm2d(width, eps=EPSILON))


def _convolution(before: int, after: int) -> nn.Sequential:
    return _after(nn.Conv2d(before, after, 3, padding=1), after)


def _halving(width: int) -> nn.Sequential:
    return _after(nn.Conv2d(width, width, 4, stride=2, padding=1), width)


def _doubling(before: int, after: int) -> nn.Sequential:
    return _after(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), after)
