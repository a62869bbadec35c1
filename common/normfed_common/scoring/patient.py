"""One-class SVMs fitted on the scanned person's own latents (Pinon 2023, MIDL, arXiv 2304.08058).

Robust because lesions are few and nu allows outliers. No registration error or scanner shift enters the score, and of
normal people nothing but the encoder is needed.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from normfed_common.learning.setting import Setting
from normfed_common.scoring import kernel
from normfed_common.scoring.base import LatentField, OneClassConfig, OneClassScore
from normfed_common.study.base import Frozen


class PatientConfig(OneClassConfig):
    """Parameters of the score within one person."""

    samples: int = Field(500, ge=10, le=20_000, description="latents that a machine is fitted on")
    models: int = Field(5, ge=1, le=100, description="machines whose mean is the score")


class PatientHead(OneClassScore):
    """An ensemble of machines, each on latents at random places of the person's brain."""

    Config: ClassVar[type[Frozen]] = PatientConfig
    cited: ClassVar[tuple[str, ...]] = ("pinon2023oneclass", "scholkopf2001")

    def __init__(self, config: PatientConfig, dimension: int, setting: Setting) -> None:
        self.nu, self.samples, self.models, self.device = config.nu, config.samples, config.models, setting.device

    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """nu samples / 4 minus the mean decision value, which is never negative (see `kernel`)."""
        latents = field.latents.numpy()
        machines = [
            kernel.fit(latents[rng.choice(len(latents), min(self.samples, len(latents)), replace=False)], self.nu)
            for _ in range(self.models)
        ]
        return kernel.anomaly(machines, field.latents.to(self.device), self.nu, self.samples).cpu().numpy()
