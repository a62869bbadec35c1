"""Normalisation layers, and which layers count as such when a strategy keeps them at the sites."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class ChannelLayerNorm(nn.Module):
    """y = (x - mean_c x) / sqrt(var_c x + eps) * weight + bias, over the channels at each pixel (Ba 2016)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape (N, C, H, W)."""
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + self.eps)
        return centred * scale * self.weight[:, None, None] + self.bias[:, None, None]


# Batch and instance norms of every dimension derive from torch's _NormBase.
NORMALISATION = (_NormBase, nn.GroupNorm, nn.LayerNorm, ChannelLayerNorm)
