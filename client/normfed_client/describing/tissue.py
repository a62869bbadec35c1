"""Three classes of a T1w scan by its intensities alone, which are mostly fluid, grey and white matter, but no tissues.

A rough measure, to see that a site is unlike the others: partial volumes, bias fields and lesions are in it. Of 14
people with segmentations the shares are off by 3 to 4 % of the brain, and hardly rank people; a mixture with the
template's tissue maps as a prior is further off (`benchmarks/bench_tissue_classes.py`).
"""

from __future__ import annotations

import numpy as np

BINS = 256


def three_classes(values: np.ndarray) -> np.ndarray:
    """Shares (3,) of the darkest, the middle and the brightest of three classes that differ most.

    The two thresholds with the greatest variance between classes, of all that there are between bins of a histogram
    (Otsu 1979, doi 10.1109/TSMC.1979.4310076): the best that k-means could find.

    Parameters
    ----------
    values
        (voxels,), at least one.
    """
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, BINS, (low, max(high, low + 1e-6)))
    below = np.concatenate([[0], np.cumsum(counts)]).astype(float)  # voxels, and their sum, below every edge
    sums = np.concatenate([[0.0], np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)])

    def between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        voxels = below[end] - below[start]
        return np.asarray((sums[end] - sums[start]) ** 2 / np.maximum(voxels, 1))

    first, second = np.triu_indices(BINS + 1)
    spread = between(0 * first, first) + between(first, second) + between(second, 0 * second + BINS)
    best = int(spread.argmax())
    return np.diff([0, below[first[best]], below[second[best]], below[-1]]) / len(values)
