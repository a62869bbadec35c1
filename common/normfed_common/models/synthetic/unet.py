"""A small U-Net (Ronneberger, Fischer, Brox 2015, arXiv 1505.04597): group normalisation, SiLU, average pooling.

Widths are b, 2 b, 3 b at three resolutions, two blocks each on the way down and one on the way up. What it returns is
linear: a logit, and what would undo the anomaly in every modality.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS_PER_GROUP = 8
PRIOR_LOGIT = -3.0  # few voxels are planted


class UNet(nn.Module):
    """(N, channels, X, Y) to (N, outputs, X, Y); sides must be multiples of 4.

    Parameters
    ----------
    filters
        b of the module.
    """

    def __init__(self, channels: int, outputs: int, filters: int) -> None:
        super().__init__()
        first, second, third = filters, 2 * filters, 3 * filters
        self.encoder = nn.ModuleList([_twice(channels, first), _twice(first, second), _twice(second, third)])
        self.decoder = nn.ModuleList([_block(third + second, second), _block(second + first, first)])
        self.head = nn.Conv2d(first, outputs, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """A logit and residuals, see the module."""
        fine = self.encoder[0](slices.contiguous(memory_format=torch.channels_last))  # twice as fast on a CPU
        middle = self.encoder[1](functional.avg_pool2d(fine, 2))
        coarse = self.encoder[2](functional.avg_pool2d(middle, 2))
        middle = self.decoder[0](torch.cat([_doubled(coarse), middle], 1))
        fine = self.decoder[1](torch.cat([_doubled(middle), fine], 1))
        out: Tensor = self.head(fine)
        return out

    def expect_nothing(self) -> None:
        """Begin with the logit of the prior and with residuals near 0."""
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias.zero_()
            self.head.bias[0] = PRIOR_LOGIT


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def _block(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(max(1, after // CHANNELS_PER_GROUP), after), nn.SiLU())


def _twice(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(_block(before, after), _block(after, after))
