"""What an algorithm adds to every step of the one training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch


class Correction(Protocol):
    """Changes gradients before a step, or parameters after it; both lists hold the trained parameters, in order."""

    def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Before the optimiser's step."""
        ...

    def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """After the optimiser's step."""
        ...


class Proximal:
    """The gradient of (weight / 2) ||w - anchor||^2 (Li 2020, arXiv 1812.06127; Ditto's pull, arXiv 2012.04221).

    Parameters
    ----------
    anchor
        What the parameters are pulled to, in their order and on their device.
    """

    def __init__(self, weight: float, anchor: Sequence[torch.Tensor]) -> None:
        self.weight, self.anchor = weight, list(anchor)

    def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """grad += weight (w - anchor)."""
        for parameter, anchor in zip(parameters, self.anchor, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - anchor, alpha=self.weight)

    def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Nothing."""


class Controlled:
    """SCAFFOLD's step y -= rate (c - c_i), after the optimiser's own (Karimireddy 2020, arXiv 1910.06378).

    With SGD the two steps are the paper's one. With Adam the variates are means of Adam's steps in the place of
    gradients, and the drift that is taken out is that of the steps.
    """

    def __init__(self, rate: float, drift: Sequence[torch.Tensor]) -> None:
        self.rate, self.drift = rate, list(drift)

    def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Nothing."""

    @torch.no_grad()
    def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """w -= rate drift."""
        for parameter, drift in zip(parameters, self.drift, strict=True):
            parameter.sub_(drift, alpha=self.rate)


def tensors(arrays: Mapping[str, torch.Tensor], parameters: Sequence[tuple[str, torch.Tensor]]) -> list[torch.Tensor]:
    """``arrays`` in the order and on the device of the parameters."""
    return [arrays[name].to(parameter.device) for name, parameter in parameters]
