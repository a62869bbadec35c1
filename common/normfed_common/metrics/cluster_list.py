"""The most suspicious clusters of a scan one by one, as a reader is shown them; they stay where the scan is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.tissue import CLASSES


@dataclass(frozen=True)
class Cluster:
    """One cluster.

    Parameters
    ----------
    rank
        From 1, the most suspicious.
    volume_mm3
        In the world's own size.
    peak_score, mean_score
        Highest and mean score.
    p_value
        The smallest; NaN where there are none.
    peak_mm
        Where the score is highest: right, anterior, superior in the world.
    tissue
        One of `CLASSES`, at the peak.
    hit
        Whether it shares a voxel with the lesion.
    """

    rank: int
    volume_mm3: float
    peak_score: float
    mean_score: float
    p_value: float
    peak_mm: tuple[float, float, float]
    tissue: str
    hit: bool


def list_clusters(
    scan: ScoredScan, classes: np.ndarray, affine: np.ndarray, p_values: np.ndarray | None = None
) -> list[Cluster]:
    """The clusters that the metrics of detection count, at most ten, in their order; none without a threshold.

    Parameters
    ----------
    classes
        int (X, Y, Z), places in `CLASSES`.
    affine
        (4, 4), from voxels to the world in mm, RAS; it need not keep volumes.
    p_values
        (X, Y, Z).
    """
    labels, ranked = scan.clusters
    start = np.array([side.start for side in scan.box])
    volume_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    found = []
    for rank, number in enumerate(ranked, 1):
        voxels = np.argwhere(labels == number) + start
        at = tuple(voxels.T)
        scores = scan.scores[at]
        peak = voxels[scores.argmax()]
        x, y, z = (affine[:3, :3] @ peak + affine[:3, 3]).tolist()
        cluster = Cluster(
            rank=rank,
            volume_mm3=len(voxels) * volume_mm3,
            peak_score=float(scores.max()),
            mean_score=float(scores.mean(dtype=np.float64)),
            p_value=float("nan") if p_values is None else float(p_values[at].min()),
            peak_mm=(x, y, z),
            tissue=CLASSES[classes[tuple(peak)]],
            hit=bool(scan.lesion[at].any()),
        )
        found.append(cluster)
    return found
