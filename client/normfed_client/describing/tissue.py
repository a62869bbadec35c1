"""Fluid, grey and white matter of a T1w scan by its intensities alone: three classes in one dimension.

A rough measure, for cohorts to be compared by: partial volumes, bias fields and lesions are in it.
"""

from __future__ import annotations

import numpy as np

BINS = 256
MOST_TURNS = 100


def three_classes(values: np.ndarray) -> np.ndarray:
    """Shares (3,) of the darkest, the middle and the brightest of three classes that k-means finds.

    Lloyd's algorithm (1982, doi 10.1109/TIT.1982.1056489) on a histogram, from the middles of the three thirds of the
    values; a value belongs to the nearest centre.

    Parameters
    ----------
    values
        (voxels,), at least one.
    """
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, BINS, (low, max(high, low + 1e-6)))
    middles = (edges[1:] + edges[:-1]) / 2
    centres = np.quantile(values, (1 / 6, 1 / 2, 5 / 6))
    for _ in range(MOST_TURNS):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, middles)
        sizes = np.bincount(nearest, counts, 3)
        moved = np.where(sizes > 0, np.bincount(nearest, counts * middles, 3) / np.maximum(sizes, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, middles)
    shares: np.ndarray = np.bincount(nearest, counts, 3) / len(values)
    return shares
