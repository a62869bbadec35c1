"""Small scans with lesions that score a little higher, for tests of metrics."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SHAPE = (14, 15, 12)


def case(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, lesions, mask: a few blobs that score a little higher."""
    rng = np.random.default_rng(seed)
    lesion = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.3)
    lesion = lesion > np.quantile(lesion, 0.93)
    scores = rng.standard_normal(SHAPE) + 1.2 * lesion
    mask = rng.random(SHAPE) < 0.9
    return (np.round(scores * 3) / 3 if ties else scores).astype(np.float32), lesion, mask
