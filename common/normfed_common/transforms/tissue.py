"""y = (x - g) / |w - g|, medians of a scan where the template has grey matter and where it has white matter.

Bright stays bright, also where grey matter is the brighter one, as on FLAIR; there the two are so alike that noise
would become the unit, which therefore is at least a fifth of the brain's robust standard deviation. A ratio to white
matter alone, as of fuzzy c-means normalisation, says nothing here: 0 is a percentile or a mean by then, not darkness.

A median of no voxel is the brain's; a constant modality becomes 0.

After the mean of white matter as a unit: Reinhold et al. 2019 (doi 10.1117/12.2513089).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from normfed_common.learning.deviations import QUARTILES_PER_SD
from normfed_common.study.base import Frozen
from normfed_common.transforms.by_value import ByValue, Clipped

MOSTLY = 0.5  # of a tissue's probability
LEAST = 0.2  # of the brain's robust standard deviation


class TissueConfig(Clipped):
    """Nothing but the range."""


class Tissue(ByValue):
    """The median of the template's grey matter becomes 0, and its distance to that of white matter 1, in every scan."""

    Config: ClassVar[type[Frozen]] = TissueConfig
    cited: ClassVar[tuple[str, ...]] = ("reinhold2019",)

    def changed(self, values: np.ndarray, channel: int, mask: np.ndarray) -> np.ndarray:
        """See the module."""
        anatomy = self.setting.anatomy
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        grey, white = (_median(values[share[mask] > MOSTLY], middle) for share in (anatomy.grey, anatomy.white))
        unit = max(abs(white - grey), LEAST * float(high - low) / QUARTILES_PER_SD) or float(values.std())
        return (values - grey) / unit if values.min() < values.max() else np.zeros_like(values)


def _median(values: np.ndarray, otherwise: float) -> float:
    return float(np.median(values)) if values.size else float(otherwise)
