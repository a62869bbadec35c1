"""Clusters one by one, against SciPy's labels and nibabel's coordinates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from nibabel.affines import apply_affine, voxel_sizes
from scipy import ndimage

from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.cluster_list import list_clusters
from normfed_common.metrics.tissue import CLASSES

SHAPE = (12, 14, 16)
AFFINE = np.array([[-1.8, 0.1, 0, 90], [0.1, 2.2, 0, -120], [0, 0, 2.5, -70], [0, 0, 0, 1.0]])
RNG = np.random.default_rng(0)
TISSUES = RNG.integers(len(CLASSES), size=SHAPE).astype(np.int8)
P_VALUES = RNG.random(SHAPE).astype(np.float32)


def blobs() -> ScoredScan:
    """Four bumps on a floor, one of which is outside the brain; the lesion lies in the second largest."""
    scores = RNG.random(SHAPE).astype(np.float32)
    scores[1:4, 1:4, 2:6] += 4
    scores[6:8, 6:9, 6:9] += 5
    scores[9, 2, 12:14] += 9
    scores[8:10, 11:13, 11:13] += 6
    mask, lesion = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    mask[8:10, 11:13, 11:13] = False
    lesion[7, 7, 7:12] = True
    return ScoredScan(scores, lesion, mask, 2.0, threshold=3.0, minimum_cluster_voxels=3)


def test_every_cluster_is_described_as_scipy_and_nibabel_would() -> None:
    scan = blobs()
    labels, count = ndimage.label(scan.mask & (scan.scores >= 3), np.ones((3, 3, 3)))
    kept = [n for n in range(1, count + 1) if (labels == n).sum() >= 3]
    size = {n: int((labels == n).sum()) for n in kept}
    excess = {n: ndimage.mean(scan.scores, labels, n) - 3 for n in kept}
    weight = {n: 0.5 * size[n] / max(size.values()) + 0.5 * excess[n] / max(excess.values()) for n in kept}
    found = list_clusters(scan, TISSUES, AFFINE, P_VALUES)
    assert [cluster.rank for cluster in found] == [1, 2]
    for cluster, n in zip(found, sorted(kept, key=lambda n: -weight[n]), strict=True):
        peak = ndimage.maximum_position(scan.scores, labels, n)
        assert cluster.volume_mm3 == pytest.approx(size[n] * np.prod(voxel_sizes(AFFINE)), rel=0.01)  # hardly sheared
        assert cluster.volume_mm3 == pytest.approx(size[n] * abs(np.linalg.det(AFFINE)))
        assert cluster.peak_score == scan.scores[peak]
        assert cluster.mean_score == pytest.approx(ndimage.mean(scan.scores, labels, n))
        assert cluster.p_value == pytest.approx(ndimage.minimum(P_VALUES, labels, n))
        np.testing.assert_allclose(cluster.peak_mm, apply_affine(AFFINE, peak))
        assert cluster.tissue == CLASSES[TISSUES[peak]]
        assert cluster.hit == bool((scan.lesion & (labels == n)).any())


def test_the_first_hit_is_the_metrics_rank_and_the_misses_are_its_false_clusters() -> None:
    scan = blobs()
    found = list_clusters(scan, TISSUES, AFFINE)
    assert {cluster.hit for cluster in found} == {True, False}
    assert next(cluster.rank for cluster in found if cluster.hit) == scan.detection.cluster_rank
    assert sum(not cluster.hit for cluster in found) == scan.detection.false_clusters
    assert all(math.isnan(cluster.p_value) for cluster in found)


def test_a_lesion_beyond_the_brain_moves_no_place() -> None:
    """Clusters are sought in a box around brain and lesion."""
    scan = blobs()
    mask = scan.mask.copy()
    mask[:1], mask[:, :1], mask[..., :2] = False, False, False
    narrow = replace(scan, mask=mask)
    lesion = scan.lesion.copy()
    lesion[0, 0, 0] = True
    wide = replace(narrow, lesion=lesion)
    assert narrow.box != wide.box
    assert list_clusters(narrow, TISSUES, AFFINE, P_VALUES) == list_clusters(wide, TISSUES, AFFINE, P_VALUES)


def test_scores_are_told_as_the_map_has_them_where_voxels_have_thresholds_of_their_own() -> None:
    scan = blobs()
    raised = replace(scan, thresholds=np.where(np.arange(SHAPE[0])[:, None, None] < 5, 9, 3) * np.ones(SHAPE, "f4"))
    (only,) = list_clusters(raised, TISSUES, AFFINE)
    assert only.hit
    assert only.peak_score == scan.scores[6:8, 6:9, 6:9].max()


def test_without_a_threshold_there_is_none() -> None:
    assert list_clusters(replace(blobs(), threshold=float("nan")), TISSUES, AFFINE) == []
