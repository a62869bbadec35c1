"""Intensity itself as the anomaly score: the baseline that most published methods do not beat on FLAIR.

Meissen, Kaissis, Rueckert 2021 (arXiv 2109.06540): histogram equalisation inside the brain, then a threshold. A rank
says where a voxel stands in its own brain, so that a large lesion takes ranks from a small one; robust units (see
`intensities`) do not, and one threshold means the same for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.voxelwise.intensities import (
    MAIN,
    Suspicious,
    check_named,
    main_modality,
    never_negative,
    robust_units,
    smoothed_inside,
    suspicion,
)
from normfed_common.study.base import Frozen


class IntensityConfig(Frozen):
    """Which modality, on which scale, and whether bright, dark, or both are suspicious."""

    modality: str | None = Field(None, description="when absent FLAIR, else T2w, else the study's first")
    suspicious: Suspicious | None = Field(None, description="when absent bright for FLAIR and T2w, else both")
    scale: Literal["rank", "units"] = Field(
        "rank",
        description="rank in the person's own brain, as published, or robust standard deviations from its median",
    )
    smoothing_mm: float = Field(
        0.0, ge=0, le=20, description="standard deviation of a Gaussian inside the brain, before ranks are taken"
    )


class Intensity(NormativeModel):
    """Score = rank of the intensity in the person's own brain, in [0, 1], or its robust units; nothing is learnt."""

    Config: ClassVar[type[Frozen]] = IntensityConfig
    cited: ClassVar[tuple[str, ...]] = ("meissen2021",)

    def __init__(self, config: IntensityConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.modality = main_modality(config.modality, setting.modalities)
        check_named("intensity", "modality", [self.modality], setting.modalities)
        self.suspicious: Suspicious = config.suspicious or ("bright" if self.modality in MAIN else "both")

    @classmethod
    def title(cls, config: IntensityConfig, modalities: tuple[str, ...]) -> str:
        """Such as flair-intensity, for the intensity of FLAIR, or flair-intensity-units-smoothed."""
        variant = ("-units" if config.scale == "units" else "") + ("-smoothed" if config.smoothing_mm else "")
        return f"{main_modality(config.modality, modalities).lower()}-intensity{variant}"

    @classmethod
    def words(cls, config: IntensityConfig, modalities: tuple[str, ...]) -> str:
        """Such as FLAIR intensity: in ranks or units, since these order the voxels of a scan alike."""
        return f"{'smoothed ' if config.smoothing_mm else ''}{main_modality(config.modality, modalities)} intensity"

    @classmethod
    def draws(cls, config: IntensityConfig) -> bool:
        """Nothing: it is the scan's own ranks or units."""
        return False

    @classmethod
    def needs(cls, config: IntensityConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """The one that is ranked: there is no rank of another instead."""
        return (main_modality(config.modality, modalities),)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Equalised intensity; with `both`, its distance from the median. Units are made positive by log(1 + e^s)."""
        scan = visits[-1]
        channel = self.setting.modalities.index(self.modality)
        if not scan.present[channel]:
            self.with_every_modality(scan)
        image = scan.images[channel]
        if self.config.scale == "units":
            image = robust_units(image[None], scan.mask, scan.present[channel, None])[0]
        values = smoothed_inside(image, scan.mask, self.config.smoothing_mm / self.setting.voxel_size_mm)[scan.mask]
        anomaly_map = np.zeros(scan.mask.shape, np.float32)
        anomaly_map[scan.mask] = self._ranked(values) if self.config.scale == "rank" else self._measured(values)
        return Score(anomaly_map)

    def _ranked(self, values: np.ndarray) -> np.ndarray:
        from scipy.stats import rankdata  # half a second of imports

        rank = (rankdata(values, method="average") - 0.5) / len(values)
        return {"bright": rank, "dark": 1 - rank, "both": 2 * np.abs(rank - 0.5)}[self.suspicious]

    def _measured(self, units: np.ndarray) -> np.ndarray:
        return never_negative(suspicion(units, self.suspicious))
