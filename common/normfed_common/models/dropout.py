"""Dropout that is repeatable."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout from a generator of its own: torch's draws from one global stream.

    It draws on the CPU wherever the network is, so that the masks are the same on every device.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of x in training, scale the rest."""
        if not self.training or self.share == 0:
            return x
        keep = torch.rand(x.shape, generator=self.generator) >= self.share
        return x * keep.to(x.device, non_blocking=True) / (1 - self.share)
