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

    Raises
    ------
    TypeError
        If something is not a tensor, or not over the samples.
    """

    data: Mapping[str, torch.Tensor]
    person: torch.Tensor

    def __post_init__(self) -> None:
        for name, value in {**self.data, "person": self.person}.items():
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"{name} of a batch is a {type(value).__name__}; it must be a tensor")
        if self.person.dtype != torch.int64 or self.person.ndim != 2:
            raise TypeError(
                f"person of a batch is {self.person.dtype} of shape {tuple(self.person.shape)}; it must be int64 of "
                "shape (samples, people per sample)"
            )
        for name, value in self.data.items():
            if value.shape[:1] != self.person.shape[:1]:
                raise TypeError(
                    f"{name} of a batch has shape {tuple(value.shape)}; its first axis must be over the "
                    f"{len(self.person)} samples, as person's is"
                )

    def __len__(self) -> int:
        return len(self.person)

    def first(self, count: int) -> Batch:
        """The first so many samples."""
        return Batch({name: tensor[:count] for name, tensor in self.data.items()}, self.person[:count])

    def apart(self) -> list[Batch]:
        """Every sample as a batch of its own."""
        rows = zip(self.person.split(1), *(tensor.split(1) for tensor in self.data.values()), strict=True)
        return [Batch(dict(zip(self.data, tensors, strict=True)), person) for person, *tensors in rows]

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
