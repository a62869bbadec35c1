"""Metrics of one scan at one threshold: overlap, surfaces, clusters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.metrics.curves import TOUCHING

MAXIMUM_CLUSTERS = 10  # Alaverdyan 2020: what a reader can be asked to look at
FALSE_CLUSTERS = (1, 2, 4, 8)  # of the free-response score


def dice(found: np.ndarray, lesion: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two bool arrays; NaN when both are empty."""
    size = int(found.sum()) + int(lesion.sum())
    return 2 * int((found & lesion).sum()) / size if size else float("nan")


def surface_dice(
    found: np.ndarray, lesion: np.ndarray, voxel_size_mm: float | Sequence[float], tolerance_mm: float
) -> float:
    """Share of the two surfaces within ``tolerance_mm`` of each other (Nikolov 2018), with sub-voxel areas.

    0 where only one of the two is empty, NaN where both are.

    Parameters
    ----------
    voxel_size_mm
        One for all axes, or one for each.
    """
    import torch
    from monai.metrics import compute_surface_dice

    if not found.any() or not lesion.any():
        return float("nan") if not (found.any() or lesion.any()) else 0.0
    box = tuple(
        slice(max(s.start - 2, 0), s.stop + 2) for s in ndimage.find_objects((found | lesion).astype(np.uint8))[0]
    )
    pair = [torch.from_numpy(np.ascontiguousarray(m[box]))[None, None].float() for m in (found, lesion)]
    both = [torch.cat([1 - m, m], 1) for m in pair]
    spacing = [float(size) for size in np.broadcast_to(voxel_size_mm, 3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of an argument of its own
        value = compute_surface_dice(*both, class_thresholds=[tolerance_mm], spacing=spacing, use_subvoxels=True)
    return float(value[0, 0])


def ranked_clusters(
    anomaly_map: np.ndarray, mask: np.ndarray, threshold: float, minimum_voxels: int
) -> tuple[np.ndarray, np.ndarray]:
    """The at most ten most suspicious clusters (Alaverdyan 2020; ranking after Zotova 2021).

    The threshold rises until no more than ten clusters of ``minimum_voxels`` stay. Rank score, higher first:
    0.5 size / max size + 0.5 mean excess / max mean excess, where excess is the score above the threshold. The equal
    weight is published, the normalisation is ours.

    Returns
    -------
    Labels of shape (X, Y, Z), 0 for background; and the labels' numbers, most suspicious first.
    """
    inside = np.where(mask, anomaly_map, -np.inf)
    candidates = np.unique(np.quantile(anomaly_map[mask], 1 - np.geomspace(0.2, 1e-4, 32)))
    levels = np.concatenate([[threshold], candidates[candidates > threshold]])
    low, high = 0, len(levels) - 1
    while low < high:  # the number of clusters falls as the threshold rises, but for splits near the top
        middle = (low + high) // 2
        if len(_clusters(inside >= levels[middle], minimum_voxels)[1]) <= MAXIMUM_CLUSTERS:
            high = middle
        else:
            low = middle + 1
    labels, numbers = _clusters(inside >= levels[low], minimum_voxels)
    if len(numbers) == 0:
        return labels, numbers
    size = np.bincount(labels.ravel())[numbers].astype(float)
    excess = ndimage.mean(anomaly_map - levels[low], labels, numbers) + 1e-12
    suspicion = 0.5 * size / size.max() + 0.5 * excess / excess.max()
    return labels, numbers[np.argsort(-suspicion, kind="stable")][:MAXIMUM_CLUSTERS]


def _clusters(found: np.ndarray, minimum_voxels: int) -> tuple[np.ndarray, np.ndarray]:
    labels, count = ndimage.label(found, TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    numbers = np.flatnonzero(sizes >= max(minimum_voxels, 1))
    return labels, numbers[numbers > 0]


@dataclass(frozen=True)
class Detection:
    """What a scan's clusters find; NaN where there is no lesion, but for the false ones.

    Parameters
    ----------
    lesion_sensitivity
        Share of the lesions found.
    cluster_rank
        Place of the first cluster that hits a lesion; NaN where none does.
    false_clusters
        Clusters that hit none.
    froc
        Mean share of lesions found before 1, 2, 4 and 8 false clusters are exceeded, best clusters first.
    """

    lesion_sensitivity: float
    cluster_rank: float
    false_clusters: float
    froc: float


def detection(labels: np.ndarray, ranked: np.ndarray, lesion: np.ndarray) -> Detection:
    """Detection by clusters; a lesion (26-connected) is found when a cluster shares a voxel with it."""
    lesions, count = ndimage.label(lesion, TOUCHING)
    if count == 0:
        nan = float("nan")
        return Detection(nan, nan, float(len(ranked)), nan)
    found: set[int] = set()
    false, hits, sensitivity_at = 0, [], []
    for number in ranked:
        touched = set(np.unique(lesions[labels == number]).tolist()) - {0}
        hits.append(bool(touched))
        if not touched:
            sensitivity_at.append(len(found) / count)  # just before this false cluster
            false += 1
        found |= touched
    final = len(found) / count
    before = [sensitivity_at[limit] if limit < false else final for limit in FALSE_CLUSTERS]
    rank = float(hits.index(True) + 1) if any(hits) else float("nan")
    return Detection(final, rank, float(false), float(np.mean(before)))


def each_lesion(labels: np.ndarray, ranked: np.ndarray, lesion: np.ndarray) -> list[tuple[int, bool]]:
    """Voxels of every lesion, the largest first, and whether it is found; lesions and clusters as in `detection`."""
    lesions, count = ndimage.label(lesion, TOUCHING)
    sizes = np.bincount(lesions.ravel(), minlength=count + 1)
    found = np.unique(lesions[np.isin(labels, ranked)])
    order = 1 + np.argsort(-sizes[1:], kind="stable")
    return [(int(sizes[number]), number in found) for number in order]
