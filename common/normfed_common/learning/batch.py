"""What a training step sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """Samples of one training step.

    Parameters
    ----------
    data
        Tensors by name; the first axis of each is over the samples.
    person
        int64 of shape (n, k): everybody whose scans a sample is made of, by `Person.index`; whoever is in a sample
        twice is listed twice. Privacy of people needs all of them.
    """

    data: Mapping[str, torch.Tensor]
    person: torch.Tensor

    def __len__(self) -> int:
        return len(self.person)

    def to(self, device: torch.device) -> Batch:
        """The same on another device. Copies to a GPU from pinned memory, without waiting for it.

        ``person`` stays on the CPU.
        """
        if device.type == "cpu":
            return self
        return Batch({name: _moved(tensor, device) for name, tensor in self.data.items()}, self.person)


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    pinned = device.type == "cuda" and tensor.device.type == "cpu"
    return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=pinned)
