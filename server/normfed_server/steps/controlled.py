"""SCAFFOLD's server side (Karimireddy 2020, arXiv 1910.06378), with control variates weighted by people (Manthe 2024).

    x += rate sum_S p_i (y_i - x),    c += sum_S n_i / N ( (x - y_i) / (K_i eta) - c )

where c_i+ - c_i = (x - y_i) / (K_i eta) - c, so that c_i never has to be sent: it stays at the site, and the server
knows the difference from the update.
"""

from __future__ import annotations

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Update
from normfed_server.steps.mean import Mean
from normfed_server.steps.progress import Progress


class Control(Mean):
    """See the module."""

    linear = False  # every update counts in c by its own steps
    claims = frozenset({"steps"})

    def beside(self, progress: Progress) -> Arrays:
        """The server's control variate c."""
        return {name: self._control(progress, name) for name in progress.models[0]}

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        super().begin(progress, asked)
        self.current, self.everybody = progress.models[0], sum(asked.values())
        self.before = {name: self._control(progress, name) for name in self.current}
        self.after = {name: control.copy() for name, control in self.before.items()}

    def add(self, update: Update) -> None:
        """See `Step`."""
        share = np.float32(update.people / self.everybody)
        scale = np.float32(max(update.steps, 1) * self.federation.learning_rate)
        for name, now in self.current.items():
            self.after[name] += share * ((now - update.arrays[name]) / scale - self.before[name])
        super().add(update)

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        rate = np.float32(self.parameters.server_learning_rate)
        if rate == 1:
            super().end(progress)
        else:
            mean = self.mean.arrays
            progress.models[0] = {name: now + rate * (mean[name] - now) for name, now in self.current.items()}
        progress.memory = self.after

    @staticmethod
    def _control(progress: Progress, name: str) -> np.ndarray:
        found = progress.memory.get(name)
        return np.zeros_like(progress.models[0][name]) if found is None else found
