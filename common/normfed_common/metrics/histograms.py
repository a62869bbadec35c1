"""Voxel metrics over all sites from merged histograms, with a bracket that holds the exact value.

Sites count normal voxels, lesion voxels and region weights between the same edges; the counts add up, so that no map
moves. What a histogram cannot know is the order inside a bin; the bracket is the worst it can do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from normfed_common.metrics.curves import area

COARSE_BINS = 65_536


@dataclass(frozen=True)
class Bracketed:
    """An estimate and the interval that holds the exact value."""

    value: float
    low: float
    high: float


def grid(low: float, high: float) -> np.ndarray:
    """Edges (COARSE_BINS + 1,) of the coarse bins over [low, high]."""
    return np.linspace(low, high if high > low else low + 1, COARSE_BINS + 1)


def coarse_counts(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    """Counts (COARSE_BINS,) of scores in the bins of `grid`, int64; those beyond [low, high] as its ends."""
    within = np.clip(np.asarray(scores, np.float64), low, high)  # of float32 scores NumPy would round the edges, too
    return np.histogram(within, bins=COARSE_BINS, range=(low, high if high > low else low + 1))[0].astype(np.int64)


def quantile_edges(normal: np.ndarray, lesion: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    """Ascending edges at ``bins`` quantiles of the normal and of the lesion voxels, from coarse counts (k,)."""
    places = grid(low, high)
    edges = [places[[0, -1]]]
    for counts in (normal, lesion):
        if counts.sum():
            share = np.cumsum(counts) / counts.sum()
            edges.append(places[1 + np.searchsorted(share, np.arange(1, bins) / bins)])
    return np.unique(np.concatenate(edges))


def quantile(counts: np.ndarray, low: float, high: float, probability: float) -> float:
    """The score below which ``probability`` of the coarse counts lie (upper edge of the bin); NaN without counts."""
    if counts.sum() == 0:
        return float("nan")
    place = int(np.searchsorted(np.cumsum(counts), probability * counts.sum()))
    return float(grid(low, high)[min(place + 1, COARSE_BINS)])


def rebinned(coarse: np.ndarray, low: float, high: float, edges: np.ndarray) -> np.ndarray:
    """Coarse counts (COARSE_BINS,) as counts between edges, int64 (len(edges) + 1,), each coarse bin at its centre."""
    places = grid(low, high)
    centres = (places[:-1] + places[1:]) / 2
    return np.bincount(bin_of(centres, edges), coarse, minlength=len(edges) + 1).astype(np.int64)


def bin_of(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of every score: 0 below the first edge, len(edges) from the last on."""
    return np.searchsorted(edges, scores, side="right")


def count(scores: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Counts, or sums of weights, of shape (len(edges) + 1,)."""
    return np.bincount(bin_of(scores, edges), weights, minlength=len(edges) + 1)


@dataclass(frozen=True)
class MergedCounts:
    """Voxels of all scans together, in ascending bins (b,).

    Parameters
    ----------
    normal, lesion
        Counts.
    regions
        Sums of region weights, each region's weights adding up to 1.
    """

    normal: np.ndarray
    lesion: np.ndarray
    regions: np.ndarray

    @property
    def empty(self) -> bool:
        """Whether there is no lesion or no normal voxel, so that no ranking is defined."""
        return not (self.normal.any() and self.lesion.any())

    @property
    def fpr(self) -> np.ndarray:
        """False positive rate (b + 1,) from the highest bin down."""
        return _share(self.normal)

    @property
    def tpr(self) -> np.ndarray:
        """True positive rate (b + 1,)."""
        return _share(self.lesion)

    @property
    def overlap(self) -> np.ndarray:
        """Mean share (b + 1,) of the lesions."""
        return _share(self.regions)

    def area(self, rate: np.ndarray, limit: float = 1.0) -> Bracketed:
        """Area under a rate over the false positive rate up to ``limit``; NaN where nothing is defined."""
        return UNDEFINED if self.empty else _area(self.fpr, rate, limit)


UNDEFINED = Bracketed(*3 * (float("nan"),))


def average_precision(counts: MergedCounts) -> Bracketed:
    """Of all voxels; NaN where nothing is defined."""
    return UNDEFINED if counts.empty else _average_precision(*_descending(counts))


def best_dice(counts: MergedCounts) -> Bracketed:
    """Of all voxels; NaN where nothing is defined."""
    return UNDEFINED if counts.empty else _best_dice(*_descending(counts))


def _descending(counts: MergedCounts) -> tuple[np.ndarray, np.ndarray]:
    return counts.normal[::-1].astype(float), counts.lesion[::-1].astype(float)


def _share(ascending: np.ndarray) -> np.ndarray:
    counts = ascending[::-1].astype(float)
    with np.errstate(invalid="ignore"):  # of nothing no share is defined
        return np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> Bracketed:
    """Inside a bin the curve may run along either side of the rectangle, half of it away from the diagonal."""
    value = area(x, y, limit)
    rectangles = np.diff(x) * np.diff(y)
    inside = x[:-1] < limit
    error = rectangles[inside].sum() * (0.5 if limit == 1.0 else 1.0) / limit
    return Bracketed(value, max(value - error, 0.0), min(value + error, 1.0))


def _average_precision(normal: np.ndarray, lesion: np.ndarray) -> Bracketed:
    total = lesion.sum()
    before_n = np.cumsum(normal) - normal
    before_p = np.cumsum(lesion) - lesion
    has = lesion > 0
    n, p, bn, bp = (values[has] for values in (normal, lesion, before_n, before_p))
    # Lowest: all normal voxels of the bin first, sum_k (bp + k) / (bp + bn + n + k), k = 1..p.
    b = bp + bn + n
    low = p - (b - bp) * (digamma(b + p + 1) - digamma(b + 1))
    # Highest: the bin's lesion voxels tie above its normal ones, and enter together.
    high = p * (bp + p) / (bp + bn + p)
    together = p * (bp + p) / (b + p)
    return Bracketed(float(together.sum() / total), float(low.sum() / total), float(high.sum() / total))


def _best_dice(normal: np.ndarray, lesion: np.ndarray) -> Bracketed:
    total = lesion.sum()
    cn, cp = np.cumsum(normal), np.cumsum(lesion)
    low = float(np.max(2 * cp / (cp + cn + total)))
    high = float(np.max(2 * cp / (cp + cn - normal + total)))
    return Bracketed(low, low, high)
