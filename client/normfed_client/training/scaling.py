"""Losses are scaled up in fp16, so that small gradients do not vanish (Micikevicius 2018, arXiv 1710.03740)."""

from __future__ import annotations

from typing import Any

import torch

from normfed_common.learning.setting import Setting


class Scaler:
    """What a step does around the backward pass; in float32 and bf16 nothing.

    Whatever makes gradients makes those of the scaled losses, and is told the factor. They are whole again (`whole`)
    before a correction or the optimiser looks at them. A step whose gradients overflowed is left out, and `step` says
    so, so that nothing else of that step happens either.
    """

    def __init__(self, setting: Setting, optimiser: torch.optim.Optimizer) -> None:
        self._scaler = torch.amp.GradScaler(setting.device.type, enabled=setting.precision == "fp16")
        self._optimiser, self._device = optimiser, setting.device

    @property
    def factor(self) -> float | torch.Tensor:
        """By which losses are scaled: in fp16 a scalar on the device, so that nothing waits for it; 1 otherwise."""
        if not self._scaler.is_enabled():
            return 1.0
        return self.scaled(torch.ones((), device=self._device))

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The losses as they go into the backward pass."""
        scaled: torch.Tensor = self._scaler.scale(loss)
        return scaled

    def whole(self) -> None:
        """Divide the gradients by the factor."""
        self._scaler.unscale_(self._optimiser)

    def step(self) -> bool:
        """Let the optimiser step; False if gradients had overflowed, and it did not."""
        if not self._scaler.is_enabled():
            self._optimiser.step()
            return True
        before = self._scaler.get_scale()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return self._scaler.get_scale() >= before

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self._scaler.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Undo `state`."""
        self._scaler.load_state_dict(state)
