"""What a server asks a site to measure with, made up."""

from __future__ import annotations

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.metrics.tissue import CLASSES
from normfed_common.wire.evaluation import CommonEdges


def common(edges: np.ndarray, threshold: float, held_out: np.ndarray | None = None) -> CommonEdges:
    """One threshold for every class of place; between the edges nobody is held out, or these voxels by class."""
    counts = np.zeros((len(CLASSES), len(edges) + 1), np.int64) if held_out is None else held_out
    return CommonEdges(edges, np.zeros(len(edges) + 1, np.int64), counts, np.full(len(CLASSES), threshold))


def arrays(edges: np.ndarray, threshold: float) -> Arrays:
    """The same as they cross."""
    return common(edges, threshold).arrays()
