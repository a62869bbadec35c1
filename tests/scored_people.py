"""Made-up scores of a few people's voxels, by class of place."""

from __future__ import annotations

import numpy as np

from normfed_common.metrics.tissue import CLASSES

Everybody = dict[str, tuple[np.ndarray, np.ndarray]]


def people(seed: int, count: int, absent: float) -> Everybody:
    """Scores in [0, 1] and classes of each person's voxels; some lack a class, and few score high."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(count):
        classes = rng.integers(len(CLASSES), size=40)
        classes[np.isin(classes, np.flatnonzero(rng.random(len(CLASSES)) < absent))] = 0
        scores = (rng.random(40) ** rng.integers(1, 9)).astype(np.float32)
        found[f"p{number}"] = scores, classes
    return found
