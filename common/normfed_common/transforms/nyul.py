"""Landmarks of a scan's histogram move to a standard scale, which is their mean over all scans of all sites.

landmarks:  l_k, percentiles 1, 10, 20, ..., 90, 99 of the brain
learnt:     mean over scans of (l_k - l_1) / (l_K - l_1), by sums
scan:       piecewise linear from its own landmarks to the standard scale (see `landmarks`)

Of a modality that nobody had, the scale is the scan's own percentiles; a constant scan has no landmarks to learn from.

Nyul & Udupa 1999 (Magn. Reson. Med. 42:1072); Nyul et al. 2000 (IEEE TMI 19:143).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from normfed_common.learning.setting import Setting
from normfed_common.study.base import Frozen
from normfed_common.transforms.by_value import Clipped
from normfed_common.transforms.landmarks import BENT, Landmarks, piecewise_linear

PERCENTILES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
UNIT = 0.15  # how far real T1 and FLAIR are from what is usual, in round numbers


class NyulConfig(Clipped):
    """Which landmarks, and between what the standard scale lies."""

    percentiles: tuple[float, ...] = Field(PERCENTILES, min_length=2, max_length=200, description="of the brain")
    scale: tuple[float, float] = Field((0.0, 1.0), description="where the first landmark and the last one lie")
    clip: tuple[float, float] = Field((0.0, 2.0), description="values are clipped to this range afterwards")

    @model_validator(mode="after")
    def _ascend(self) -> NyulConfig:
        if self.percentiles[0] < 0 or self.percentiles[-1] > 100 or (np.diff(self.percentiles) <= 0).any():
            raise ValueError("percentiles must ascend within 0 to 100")
        if not self.scale[0] < self.scale[1]:
            raise ValueError("scale must ascend")
        return self


class Nyul(Landmarks):
    """Landmarks of a scan's histogram move to a standard scale, which is their mean over all scans of all sites."""

    Config: ClassVar[type[Frozen]] = NyulConfig
    cited: ClassVar[tuple[str, ...]] = ("nyul1999", "nyul2000")
    config: NyulConfig

    def __init__(self, config: NyulConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.quantiles = np.array(config.percentiles) / 100

    def shares(self, landmarks: np.ndarray) -> np.ndarray | None:
        """Of the way from the first landmark to the last."""
        width = landmarks[-1] - landmarks[0]
        return (landmarks - landmarks[0]) / width if width > 0 else None

    def standard(self, shares: np.ndarray) -> np.ndarray:
        """On the standard scale."""
        low, high = self.config.scale
        return low + (high - low) * shares

    def unlearnt(self, values: np.ndarray) -> np.ndarray:
        """Straight from the first landmark to the last."""
        ends = self.quantiles[[0, -1]]
        return piecewise_linear(values, np.quantile(values, ends), np.array(self.config.scale))

    def usual(self) -> tuple[np.ndarray, float]:
        """Those of any brain, about."""
        first, last = self.quantiles[[0, -1]]
        return ((self.quantiles - first) / (last - first)) ** BENT, UNIT
