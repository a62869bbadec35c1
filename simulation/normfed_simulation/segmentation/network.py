"""The residual U-Net of Zakazov, Shaposhnikov, Bespalov, Dylov 2021 (MICCAI, arXiv 2107.04914).

Three residual blocks at each of four resolutions on the way down and three of them on the way up, 16, 32, 64 and 128
features; batch normalisation and ReLU before every convolution; 2 x 2 convolutions of stride 2 downwards and transposed
ones upwards; skips pass a 1 x 1 convolution and are added. The logit is normalised by its batch as well.
Repository neuro-ml/domain_shift_anatomy, with the blocks of neuro-ml/deep_pipe.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from normfed_simulation.segmentation.config import LEVELS

BLOCKS = 3  # at a resolution


class Residual(nn.Module):
    """x + convolutions(x): two 3 x 3 ones without bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            *_before(nn.Conv2d(width, width, 3, padding=1, bias=False)),
            *_before(nn.Conv2d(width, width, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        out: Tensor = x + self.path(x)
        return out


class SegmentationNetwork(nn.Module):
    """(N, 1, X, Y) to logits of brain (N, 1, X, Y); sides must be multiples of `config.MULTIPLE`.

    Parameters
    ----------
    filters
        Of the finest resolution; doubled by every halving.
    """

    def __init__(self, filters: int = 16) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(LEVELS + 1)]
        self.first = nn.Sequential(nn.Conv2d(1, filters, 3, padding=1, bias=False), *_blocks(filters))
        self.down = nn.ModuleList(
            nn.Sequential(*_before(nn.Conv2d(a, b, 2, stride=2, bias=False)), *_blocks(b)) for a, b in pairwise(widths)
        )
        self.skip = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths[:-1])
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Sequential(*_blocks(width)) for width in widths[:-1])
        self.head = nn.Sequential(*_before(nn.Conv2d(filters, 1, 1)), nn.BatchNorm2d(1))

    def forward(self, slices: Tensor) -> Tensor:
        """Logits of brain."""
        features = [self.first(slices)]
        for down in self.down:
            features.append(down(features[-1]))
        x = features.pop()
        for level in reversed(range(LEVELS)):
            x = self.up[level](self.grow[level](x) + self.skip[level](features[level]))
        out: Tensor = self.head(x)
        return out

    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights as torch does by default (He 2015, uniform), but from ``generator``."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
                if layer.bias is not None:
                    bound = (layer.weight.shape[1] * layer.weight[0, 0].numel()) ** -0.5
                    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def _before(layer: nn.Conv2d) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(layer.in_channels), nn.ReLU(), layer


def _blocks(width: int) -> list[Residual]:
    return [Residual(width) for _ in range(BLOCKS)]
