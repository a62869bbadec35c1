"""One-class SVMs fitted on the scanned person's own latents (Pinon 2023, MIDL, arXiv 2304.08058).

Robust because lesions are few and nu allows outliers; no registration error and no scanner shift enters the score, and
nothing about normal people but the encoder needs to be known.
"""

from __future__ import annotations

import numpy as np
import torch

from normfed_common.scoring import kernel
from normfed_common.scoring.base import LatentField, NothingLearnt


class PatientHead(NothingLearnt):
    """An ensemble of machines, each on latents at random places of the person's brain."""

    def __init__(self, nu: float, samples: int, models: int, device: torch.device) -> None:
        self.nu, self.samples, self.models, self.device = nu, samples, models, device

    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """Minus the mean decision value, plus nu samples / 4 (see `kernel`), which makes it positive."""
        latents = field.latents.numpy()
        machines = [
            kernel.fit(latents[rng.choice(len(latents), min(self.samples, len(latents)), replace=False)], self.nu)
            for _ in range(self.models)
        ]
        return kernel.anomaly(machines, field.latents.to(self.device), self.nu, self.samples).cpu().numpy()
