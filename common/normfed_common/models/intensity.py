"""Intensity itself as the anomaly score: the baseline that most published methods do not beat on FLAIR.

Meissen, Kaissis, Rueckert 2021 (arXiv 2109.06540): histogram equalisation inside the brain, then a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.stats import rankdata

from normfed_common.foundation.errors import StudyError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.study.base import Frozen


class IntensityConfig(Frozen):
    """Which modality, and whether bright, dark, or both are suspicious."""

    modality: str | None = Field(None, description="FLAIR where the study has it, else the first")
    suspicious: Literal["bright", "dark", "both"] | None = Field(None, description="bright for FLAIR and T2, else both")


class Intensity(NormativeModel):
    """Score = rank of the intensity in the person's own brain, in [0, 1]; nothing is learnt."""

    Config: ClassVar[type[Frozen]] = IntensityConfig

    def __init__(self, config: IntensityConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.modality = _modality(config, setting.modalities)
        if self.modality not in setting.modalities:
            raise StudyError(
                f"intensity: the study has no {self.modality}, only {', '.join(setting.modalities)}. "
                "Change `modality`, or leave it out."
            )
        self.suspicious = config.suspicious or ("bright" if self.modality in ("FLAIR", "T2w") else "both")

    @classmethod
    def title(cls, config: IntensityConfig, modalities: tuple[str, ...]) -> str:
        """Such as flair-intensity, for the intensity of FLAIR."""
        return f"{_modality(config, modalities).lower()}-intensity"

    @classmethod
    def needs(cls, config: IntensityConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """The one that is ranked: there is no rank of another instead."""
        return (_modality(config, modalities),)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Equalised intensity; with `both`, its distance from the median rank."""
        scan = visits[-1]
        channel = self.setting.modalities.index(self.modality)
        if not scan.present[channel]:
            self.with_every_modality(scan)
        values = scan.images[channel][scan.mask]
        rank = (rankdata(values, method="average") - 0.5) / len(values)
        scored = {"bright": rank, "dark": 1 - rank, "both": 2 * np.abs(rank - 0.5)}[self.suspicious]
        anomaly_map = np.zeros(scan.mask.shape, np.float32)
        anomaly_map[scan.mask] = scored
        return Score(anomaly_map)


def _modality(config: IntensityConfig, modalities: tuple[str, ...]) -> str:
    return config.modality or ("FLAIR" if "FLAIR" in modalities else modalities[0])
