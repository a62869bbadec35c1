"""FedNova: a site's update is divided by its steps, so that one with more steps does not pull the objective its way
(Wang 2020, arXiv 2007.07481).

    w += (sum_i p_i K_i) sum_i p_i (w_i - w) / K_i,    p_i = n_i / n
"""

from __future__ import annotations

import numpy as np

from normfed_server.steps.base import Step, Update
from normfed_server.steps.mean import RunningMean
from normfed_server.steps.progress import Progress


class Normalised(Step):
    """See the module."""

    claims = frozenset({"steps"})

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        self.current, self.mean, self.steps = progress.models[0], RunningMean(), RunningMean()

    def add(self, update: Update) -> None:
        """See `Step`."""
        steps = np.float32(max(update.steps, 1))
        self.mean.add({n: (update.arrays[n] - now) / steps for n, now in self.current.items()}, update.people)
        self.steps.add({"steps": np.array([steps])}, update.people)

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        effective = self.steps.arrays["steps"][0]
        progress.models[0] = {name: now + effective * self.mean.arrays[name] for name, now in self.current.items()}
