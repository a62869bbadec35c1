"""Small scans with lesions that score a little higher, for tests of metrics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import ndimage

from normfed_common.metrics.base import merged_figures
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.curves import Curve
from normfed_common.metrics.histograms import Bracketed, MergedCounts

SHAPE = (14, 15, 12)


def case(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, lesions, mask: a few blobs that score a little higher."""
    rng = np.random.default_rng(seed)
    lesion = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.3)
    lesion = lesion > np.quantile(lesion, 0.93)
    scores = rng.standard_normal(SHAPE) + 1.2 * lesion
    mask = rng.random(SHAPE) < 0.9
    return (np.round(scores * 3) / 3 if ties else scores).astype(np.float32), lesion, mask


def ranked(curve: Curve) -> dict[str, float]:
    """Every built-in metric that needs no threshold, of one scan's curve."""
    scan: Any = SimpleNamespace(curve=curve)
    return {metric.name: metric(scan) for metric in BUILT_IN if metric.needs == "scores"}


def merged(normal: np.ndarray, lesion: np.ndarray, regions: np.ndarray) -> dict[str, Bracketed]:
    """Every built-in metric that can be had from counts of all scans together."""
    return merged_figures(BUILT_IN, MergedCounts(normal, lesion, regions))
