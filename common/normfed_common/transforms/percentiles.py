"""y = (x - p_low) / (p_high - p_low), percentiles of the brain; each scan by itself.

Where both percentiles are one value, the least and the greatest stand for them; a constant modality becomes 0.

Common practice; compared with others by Reinhold et al. 2019 (doi 10.1117/12.2513089).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from normfed_common.study.base import Frozen
from normfed_common.transforms.by_value import ByValue, Clipped


class PercentilesConfig(Clipped):
    """Which percentiles become 0 and 1."""

    percentiles: tuple[float, float] = Field((1.0, 99.0), description="of the brain; become 0 and 1")
    clip: tuple[float, float] = Field((0.0, 2.0), description="values are clipped to this range afterwards")

    @model_validator(mode="after")
    def _within(self) -> PercentilesConfig:
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles must ascend within 0 to 100")
        return self


class Percentiles(ByValue):
    """A scan's own percentiles of a modality in the brain become 0 and 1."""

    Config: ClassVar[type[Frozen]] = PercentilesConfig
    cited: ClassVar[tuple[str, ...]] = ("reinhold2019",)

    def changed(self, values: np.ndarray, channel: int, mask: np.ndarray) -> np.ndarray:
        """See the module."""
        low, high = np.percentile(values, self.config.percentiles)
        if not high > low:
            low, high = values.min(), values.max()
        return (values - low) / (high - low) if high > low else np.zeros_like(values)
