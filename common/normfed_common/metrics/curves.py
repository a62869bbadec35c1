"""Threshold-free voxel metrics of one scan, exact, from one sort of its scores.

FPR, TPR and the per-region overlap PRO are cumulated from the highest score down; tied scores enter together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.foundation.masks import box_of

FPR_LIMIT = 0.3
TOUCHING = np.ones((3, 3, 3), bool)  # 26-connectivity, the convention for lesions in 3-D


@dataclass(frozen=True)
class Curve:
    """One scan's counts at every threshold, from the highest score down; all arrays start with the empty set.

    Parameters
    ----------
    negatives, positives
        Normal and lesion voxels at or above each threshold.
    overlap
        Mean over lesions of the share of the lesion at or above each threshold, in [0, 1].
    """

    negatives: np.ndarray
    positives: np.ndarray
    overlap: np.ndarray

    @property
    def fpr(self) -> np.ndarray:
        """False positive rate."""
        return self.negatives / self.negatives[-1] if self.negatives[-1] else np.full(len(self.negatives), np.nan)

    @property
    def tpr(self) -> np.ndarray:
        """True positive rate."""
        return self.positives / self.positives[-1] if self.positives[-1] else np.full(len(self.positives), np.nan)


def curve(anomaly_map: np.ndarray, lesion: np.ndarray, mask: np.ndarray) -> Curve:
    """Counts of one scan at every threshold.

    Parameters
    ----------
    anomaly_map, lesion, mask
        (X, Y, Z): scores, ground truth, evaluated voxels.
    """
    scores, truth = anomaly_map[mask], lesion[mask]
    weights = region_weights(lesion & mask)[mask]
    order = np.argsort(-scores, kind="stable")
    scores, truth, weights = scores[order], truth[order], weights[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # where a run of ties ends

    def cumulated(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(values)[last]])

    return Curve(cumulated(~truth), cumulated(truth), cumulated(weights))


def region_weights(lesion: np.ndarray) -> np.ndarray:
    """1 / (size of the voxel's lesion x number of lesions), 0 elsewhere: sums to 1, or to 0 without lesions."""
    found = np.zeros(lesion.shape)
    box = box_of(lesion)
    labels, count = ndimage.label(lesion[box], TOUCHING)
    if count == 0:
        return found
    sizes = np.bincount(labels.ravel()).astype(float)
    weights = np.append(0.0, 1 / (sizes[1:] * count))
    found[box] = weights[labels]
    return found


def area(x: np.ndarray, y: np.ndarray, limit: float = 1.0) -> float:
    """Area under y(x) for x in [0, limit], divided by limit; NaN where x or y has no count."""
    if np.isnan(x).any() or np.isnan(y).any():
        return float("nan")
    inside = int(np.searchsorted(x, limit, side="right"))
    x_end = np.append(x[:inside], limit)
    y_end = np.append(y[:inside], np.interp(limit, x, y))
    return float(np.trapezoid(y_end, x_end) / limit)


def mcclish(plain: float, limit: float = FPR_LIMIT) -> float:
    """McClish 1989: the partial area of `area` rescaled so that chance is 0.5 and perfection 1."""
    low, high = limit**2 / 2, limit
    return 0.5 * (1 + (plain * limit - low) / (high - low))


def average_precision(counts: Curve) -> float:
    """sum (R_n - R_{n-1}) P_n, never the trapezoid (Davis & Goadrich 2006); NaN without a lesion or a normal voxel."""
    total = counts.positives[-1]
    if total == 0 or counts.negatives[-1] == 0:
        return float("nan")
    precision = counts.positives[1:] / (counts.positives[1:] + counts.negatives[1:])
    return float(np.sum(np.diff(counts.positives) * precision) / total)


def best_dice(counts: Curve) -> float:
    """The highest Dice over all thresholds: chosen on the answer, so a bound, not a result; NaN as above."""
    total = counts.positives[-1]
    if total == 0 or counts.negatives[-1] == 0:
        return float("nan")
    return float(np.max(2 * counts.positives / (counts.positives + counts.negatives + total)))
