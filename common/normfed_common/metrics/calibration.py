"""Thresholds, false-positive rates and p-values of voxels from merged histograms of held-out normal people.

Conformal p-value (Vovk 2005) of a voxel with score s beside n of calibration: p = (1 + #{calibration >= s}) / (n + 1).
It is uniform over voxels drawn alike. Those of one person are not independent of each other, so how many fall below a
level varies more between people than a binomial says. A person weighs as much as they have scans, each of them about
alike, since brains have about as many voxels: among n scans nobody moves a p-value by much more than 1 / n, but below
1 / n it may be a single person's voxels that decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.metrics import histograms
from normfed_common.metrics.tissue import CLASSES

FILE = "calibration.safetensors"  # of a finished run: what p-values of its model compare with


@dataclass(frozen=True)
class NormalVoxels:
    """What p-values compare with.

    Parameters
    ----------
    edges
        (b,), float64, ascending.
    counts
        (classes, b + 1), int64: voxels of held-out normal people below the first edge, between two, from the last.

    Raises
    ------
    WireError
        If they are anything else.
    """

    edges: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        check_shapes(self.arrays(), {"edges": (self.edges.size,), "counts": (len(CLASSES), self.edges.size + 1)})
        if self.counts.dtype != np.int64 or (self.counts < 0).any() or not (np.diff(self.edges) > 0).all():
            raise WireError("there are no counts between edges")

    def arrays(self) -> Arrays:
        """As they are kept."""
        return {"edges": self.edges, "counts": self.counts}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> NormalVoxels:
        """What `arrays` made.

        Raises
        ------
        WireError
            If it did not.
        """
        if arrays.keys() != {"edges", "counts"}:
            raise WireError(f"there are {', '.join(sorted(arrays))} instead of edges and counts")
        return cls(arrays["edges"], arrays["counts"])

    def whole(self) -> NormalVoxels:
        """Every class compared with the whole brain."""
        return NormalVoxels(self.edges, np.broadcast_to(self.counts.sum(0), self.counts.shape).copy())

    def p_values(self, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """p-values (n,), float32, of scores (n,) of these classes (n,); those of a score's own bin count as above it.

        A class without any voxels is compared with all together.
        """
        counts = np.where(self.counts.any(1, keepdims=True), self.counts, self.counts.sum(0))
        above = np.cumsum(counts[:, ::-1], 1)[:, ::-1]
        return ((1 + above) / (1 + above[:, :1]))[classes, histograms.bin_of(scores, self.edges)].astype(np.float32)


def thresholds(
    counts: np.ndarray, whole: np.ndarray, low: float, high: float, specificity: float
) -> tuple[np.ndarray, np.ndarray]:
    """A threshold for every class, from coarse counts (classes, bins) over [low, high].

    Parameters
    ----------
    whole
        (bins,): counts of the whole brain.

    Returns
    -------
    float64 (classes,), NaN where there are no counts at all; and bool (classes,): which had none of their own and have
    the threshold of the whole brain.
    """
    own = np.array([histograms.quantile(row, low, high, specificity) for row in counts])
    lacking = np.isnan(own)
    return np.where(lacking, histograms.quantile(whole, low, high, specificity), own), lacking


def at_or_above(counts: np.ndarray, low: float, high: float, levels: np.ndarray) -> float:
    """How many of the coarse counts (classes, bins) lie at or above their class's level, (classes,), an upper edge."""
    grid = histograms.grid(low, high)
    first = np.minimum(np.searchsorted(grid, levels), counts.shape[1] - 1)  # the highest score lies on the last edge
    return float(sum(row[start:].sum() for row, start in zip(counts, first, strict=True)))
