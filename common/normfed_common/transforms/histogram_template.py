"""Histograms are matched to one template, whose quantiles are the mean of those of all scans of all sites.

learnt:  mean over scans of the quantiles at 0.5 %, 1.5 %, ..., 99.5 % of the brain, by sums
scan:    from its own quantiles to the template's, straight between them (see `landmarks`)

A mean of quantiles is the distribution nearest to all of them (the barycentre by Wasserstein's distance: Agueh &
Carlier 2011, doi 10.1137/100805741), and keeps their peaks, which a mean of histograms of unlike scans blurs. Beside
Nyul's landmarks it has ten times as many, and the scale of the study instead of each scan's.

Histogram matching: Gonzalez & Woods, Digital Image Processing.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.stats import norm

from normfed_common.learning.deviations import are_deviations
from normfed_common.learning.setting import Setting
from normfed_common.study.base import Frozen
from normfed_common.transforms.landmarks import BENT, Landmarks

OF_PERCENTILES, OF_DEVIATIONS = 0.15, 0.5  # how far real T1 and FLAIR are from what is usual, in round numbers


class HistogramTemplateConfig(Frozen):
    """How many quantiles."""

    quantiles: int = Field(100, ge=2, le=1000, description="of the brain, each in the middle of as many equal parts")


class HistogramTemplate(Landmarks):
    """A scan's histogram becomes that of one template, the mean quantiles of all scans of all sites."""

    Config: ClassVar[type[Frozen]] = HistogramTemplateConfig
    cited: ClassVar[tuple[str, ...]] = ("gonzalez2018",)

    def __init__(self, config: HistogramTemplateConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.quantiles = (np.arange(config.quantiles) + 0.5) / config.quantiles

    @property
    def value_range(self) -> tuple[float, float]:
        """As before: no mean of quantiles lies beyond."""
        return self.setting.value_range

    def shares(self, landmarks: np.ndarray) -> np.ndarray:
        """Of the study's range of values."""
        low, high = self.setting.value_range
        found: np.ndarray = np.clip((landmarks - low) / (high - low), 0, 1)
        return found

    def standard(self, shares: np.ndarray) -> np.ndarray:
        """In the study's range of values."""
        low, high = self.setting.value_range
        return low + (high - low) * shares

    def unlearnt(self, values: np.ndarray) -> np.ndarray:
        """As they are."""
        return values

    def usual(self) -> tuple[np.ndarray, float]:
        """Those of any brain, about, or of a normal distribution."""
        low, high = self.setting.value_range
        if are_deviations((low, high)):
            return self.shares(norm.ppf(self.quantiles)), OF_DEVIATIONS / (high - low)
        return self.shares(self.quantiles**BENT), OF_PERCENTILES / (high - low)
