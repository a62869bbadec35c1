"""y = (x - mean) / standard deviation over the brain; each scan by itself.

robust: y = (x - median) / u, u = (q75 - q25) / 1.349, which a lesion moves less. A constant modality becomes 0.

Common practice; compared with others by Reinhold et al. 2019 (doi 10.1117/12.2513089).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from normfed_common.learning.deviations import in_deviations, in_robust_deviations
from normfed_common.study.base import Frozen
from normfed_common.transforms.by_value import ByValue, Clipped


class ZScoreConfig(Clipped):
    """Mean and standard deviation, or median and quartiles."""

    robust: bool = Field(False, description="by median and quartiles, not by mean and standard deviation")


class ZScore(ByValue):
    """A modality's values in the brain get a mean of 0 and a standard deviation of 1 in every scan."""

    Config: ClassVar[type[Frozen]] = ZScoreConfig
    cited: ClassVar[tuple[str, ...]] = ("reinhold2019",)

    def changed(self, values: np.ndarray, channel: int, mask: np.ndarray) -> np.ndarray:
        """See the module."""
        return in_robust_deviations(values) if self.config.robust else in_deviations(values)
