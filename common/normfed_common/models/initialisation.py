"""First weights of networks."""

from __future__ import annotations

import torch
from torch import nn


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Torch's own defaults (He 2015, uniform), but drawn from ``generator``: torch's layers share one global stream
    with other threads."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
            bound = (layer.weight.shape[1] * layer.weight[0, 0].numel()) ** -0.5
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
