"""A metric that nothing of normfed knows of: a plug-in of the tests."""

from __future__ import annotations

import numpy as np

from normfed_common.metrics.base import Metric, ScoredScan


def peak(scan: ScoredScan) -> float:
    """1 where the voxel with the highest score lies in the lesion, else -1; NaN without a lesion."""
    if not scan.lesion.any():
        return float("nan")
    place = np.argmax(np.where(scan.mask, scan.scores, -np.inf))
    return 1.0 if scan.lesion.flat[place] else -1.0


METRIC = Metric("peak", "peak in the lesion", peak, needs="scores", lowest=-1.0, unit="hit or miss")
