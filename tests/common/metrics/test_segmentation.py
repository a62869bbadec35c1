"""Overlap, surfaces and clusters of one scan, against other libraries and slow second implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lesions import SHAPE, case
from scipy import ndimage
from sklearn.metrics import f1_score
from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances

from normfed_common.metrics import segmentation

MASKS = hnp.arrays(bool, (4, 3, 2))


@settings(max_examples=30)
@given(MASKS, MASKS)
def test_dice_is_scikit_learns_f1(found: np.ndarray, lesion: np.ndarray) -> None:
    if not found.any() and not lesion.any():
        assert np.isnan(segmentation.dice(found, lesion))
    else:
        expected = f1_score(lesion.ravel(), found.ravel(), zero_division=0.0)
        assert segmentation.dice(found, lesion) == pytest.approx(expected)


def box(*corner: int, size: int = 4, shape: tuple[int, int, int] = (20, 12, 12)) -> np.ndarray:
    array = np.zeros(shape, bool)
    array[tuple(slice(c, c + size) for c in corner)] = True
    return array


PAIRS = {
    "shifted": (box(6, 4, 4), box(7, 4, 4)),
    "at the volume's edge": (box(0, 0, 0), box(0, 0, 1)),
    "at its far edge": (box(16, 8, 8), box(16, 7, 8)),
    "far apart": (box(0, 0, 0), box(16, 8, 8)),
    "one of two": (box(1, 1, 1) | box(14, 7, 7), box(1, 1, 1)),
    "one inside the other": (box(6, 4, 4, size=2), box(5, 3, 3, size=4)),
    "a single voxel": (box(5, 5, 5, size=1), box(6, 5, 5, size=1)),
}


@pytest.mark.parametrize("tolerance_mm", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("pair", PAIRS)
def test_surface_dice_is_deepminds_wherever_the_surfaces_are(pair: str, tolerance_mm: float) -> None:
    """The volume is cropped before distances are taken: that must not move a surface."""
    found, lesion = PAIRS[pair]
    expected = compute_surface_dice_at_tolerance(compute_surface_distances(found, lesion, (2.0,) * 3), tolerance_mm)
    assert segmentation.surface_dice(found, lesion, 2, tolerance_mm) == pytest.approx(expected, abs=1e-5)
    assert segmentation.surface_dice(lesion, found, 2, tolerance_mm) == pytest.approx(expected, abs=1e-5)


def peaks(*heights: float, length: int = 1) -> np.ndarray:
    """One bar of ``length`` voxels per height, far from each other, on a floor of 0."""
    found = np.zeros((3, 3, 4 * len(heights) + 200), np.float32)
    for number, height in enumerate(heights):
        found[:length, 1, 4 * number + 1] = height
    return found


def heights_of(anomaly_map: np.ndarray, labels: np.ndarray, ranked: np.ndarray) -> list[float]:
    return [float(anomaly_map[labels == number].max()) for number in ranked]


def ranked(anomaly_map: np.ndarray, threshold: float, minimum_voxels: int = 1) -> list[float]:
    """The heights of the clusters that stay, most suspicious first."""
    inside = np.ones(anomaly_map.shape, bool)
    return heights_of(anomaly_map, *segmentation.ranked_clusters(anomaly_map, inside, threshold, minimum_voxels))


def test_ten_clusters_stay_as_they_are_and_the_higher_come_first() -> None:
    heights = [2.0, 9, 3, 8, 4, 7, 5, 6, 1, 1.5]
    assert ranked(peaks(*heights), 1.0) == sorted(heights, reverse=True)  # a score at the threshold counts


def test_for_more_than_ten_the_threshold_rises_as_far_as_it_must() -> None:
    heights = np.arange(1.0, 14.0)
    anomaly_map = peaks(*heights)
    inside = np.ones(anomaly_map.shape, bool)
    found = heights_of(anomaly_map, *segmentation.ranked_clusters(anomaly_map, inside, 0.5, 1))
    levels = np.unique(np.quantile(anomaly_map[inside], 1 - np.geomspace(0.2, 1e-4, 32)))
    slow = next(
        sorted(heights[heights >= level], reverse=True)
        for level in [0.5, *levels[levels > 0.5]]
        if (heights >= level).sum() <= segmentation.MAXIMUM_CLUSTERS
    )
    assert found == slow
    assert 1 <= len(found) <= 10


@pytest.mark.parametrize(("minimum_voxels", "stay"), [(0, 2), (2, 2), (3, 0)])
def test_a_cluster_as_large_as_the_minimum_stays(minimum_voxels: int, stay: int) -> None:
    assert len(ranked(peaks(5.0, 4.0, length=2), 1.0, minimum_voxels)) == stay


def test_nothing_above_the_threshold_is_no_cluster() -> None:
    assert ranked(peaks(0.5), 1.0) == []


def test_what_lies_outside_the_mask_is_no_cluster_and_does_not_join_two() -> None:
    anomaly_map = np.zeros((3, 3, 9), np.float32)
    anomaly_map[1, 1, 2:7] = 4.0
    mask = np.ones(anomaly_map.shape, bool)
    mask[:, :, 4] = False
    labels, numbers = segmentation.ranked_clusters(anomaly_map, mask, 1.0, 1)
    assert len(numbers) == 2
    assert not labels[~mask].any()


def test_voxels_that_touch_at_a_corner_are_one_cluster() -> None:
    anomaly_map = np.zeros((4, 4, 4), np.float32)
    anomaly_map[1, 1, 1] = anomaly_map[2, 2, 2] = 3.0
    assert len(ranked(anomaly_map, 1.0, minimum_voxels=2)) == 1


def slow_metrics(labels: np.ndarray, order: list[int], lesion: np.ndarray) -> dict[str, float]:
    """Looking at the clusters one after another, as a reader would."""
    regions, count = ndimage.label(lesion, np.ones((3, 3, 3)))
    hits = [{int(r) for r in regions[labels == number] if r} for number in order]

    def share_before(limit: int) -> float:
        found: set[int] = set()
        for hit in hits:
            limit -= not hit
            if limit < 0:
                break
            found |= hit
        return len(found) / count

    return {
        "lesion_sensitivity": share_before(len(order)),
        "cluster_rank": next((place for place, hit in enumerate(hits, 1) if hit), float("nan")),
        "false_clusters": sum(not hit for hit in hits),
        "froc": float(np.mean([share_before(limit) for limit in (1, 2, 4, 8)])),
    }


@given(
    hnp.arrays(int, (12, 3, 3), elements=st.integers(0, 10), fill=st.nothing()),
    hnp.arrays(bool, (12, 1, 1)),
    st.permutations(range(1, 11)),
)
def test_detection_is_what_a_reader_who_takes_clusters_in_turn_counts(
    labels: np.ndarray, column: np.ndarray, order: list[int]
) -> None:
    """Each slab of voxels is one cluster or none; a lesion runs along one column."""
    labels = np.repeat(np.repeat(labels[:, :1, :1], 3, 1), 3, 2)
    lesion = np.zeros(labels.shape, bool)
    lesion[:, 1:2, 1:2] = column
    if not lesion.any():
        return
    numbers = np.array([number for number in order if (labels == number).any()], int)
    found = vars(segmentation.detection(labels, numbers, lesion))
    assert found == pytest.approx(slow_metrics(labels, numbers.tolist(), lesion), nan_ok=True)


@pytest.mark.parametrize(("false", "froc"), [(1, 1.0), (2, 0.75), (3, 0.5), (5, 0.25), (9, 0.0)])
def test_a_lesion_found_after_false_clusters_counts_from_as_many_on(false: int, froc: float) -> None:
    labels = np.repeat(np.arange(1, 21), 2)[:, None, None]
    lesion = labels == false + 1
    found = vars(segmentation.detection(labels, np.arange(1, false + 2), lesion))
    assert found == {
        "lesion_sensitivity": 1.0,
        "cluster_rank": false + 1,
        "false_clusters": false,
        "froc": froc,
    }


def test_surface_dice_equals_deepminds_library() -> None:
    surface_distance = pytest.importorskip("surface_distance")
    for seed in range(4):
        _, lesion, _ = case(seed)
        other = np.roll(lesion, 1, axis=seed % 3)
        distances = surface_distance.compute_surface_distances(lesion, other, (2.0, 2.0, 2.0))
        expected = surface_distance.compute_surface_dice_at_tolerance(distances, 1.0)
        assert segmentation.surface_dice(lesion, other, 2, 1.0) == pytest.approx(expected, abs=1e-5)


def test_overlap_of_empty_masks_is_undefined_or_nothing() -> None:
    empty, full = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert np.isnan(segmentation.dice(empty, empty))
    assert segmentation.dice(empty, full) == 0
    assert np.isnan(segmentation.surface_dice(empty, empty, 2, 1.0))
    assert segmentation.surface_dice(empty, full, 2, 1.0) == 0


def bumps(heights: list[float], sizes: list[int]) -> np.ndarray:
    """Well separated cubes on a low floor."""
    anomaly_map = np.zeros((60, 12, 12), np.float32)
    for k, (height, size) in enumerate(zip(heights, sizes, strict=True)):
        anomaly_map[5 * k : 5 * k + size, 2 : 2 + size, 2 : 2 + size] = height
    return anomaly_map


def test_clusters_are_ranked_by_size_and_excess_and_small_ones_dropped() -> None:
    anomaly_map = bumps([1.0, 3.0, 2.0, 9.0], [4, 3, 2, 1])
    labels, ranked = segmentation.ranked_clusters(anomaly_map, np.ones(anomaly_map.shape, bool), 0.5, minimum_voxels=8)
    firsts = [int(np.argwhere(labels == number)[0][0]) // 5 for number in ranked]
    sizes, excess = np.array([64, 27, 8]), np.array([0.5, 2.5, 1.5])
    expected = np.argsort(-(0.5 * sizes / 64 + 0.5 * excess / 2.5))
    assert firsts == expected.tolist()


def test_at_most_ten_clusters_stay() -> None:
    anomaly_map = bumps([1.0 + 0.1 * k for k in range(12)], [3] * 12)
    _, ranked = segmentation.ranked_clusters(anomaly_map, np.ones(anomaly_map.shape, bool), 0.5, minimum_voxels=1)
    assert 1 <= len(ranked) <= segmentation.MAXIMUM_CLUSTERS


def test_cluster_detection_on_a_case_worked_by_hand() -> None:
    labels = np.zeros((60, 12, 12), int)
    for number, place in ((1, 0), (2, 10), (3, 20)):
        labels[place : place + 3, 2:5, 2:5] = number
    lesion = np.zeros(labels.shape, bool)
    lesion[10:12, 2:4, 2:4] = True  # hit by the second cluster
    lesion[40:42, 2:4, 2:4] = True  # missed
    found = vars(segmentation.detection(labels, np.array([1, 2, 3]), lesion))
    assert found["lesion_sensitivity"] == 0.5
    assert found["cluster_rank"] == 2
    assert found["false_clusters"] == 2
    assert found["froc"] == pytest.approx(0.5)  # half the lesions before the second false cluster
    nothing = vars(segmentation.detection(labels, np.array([1, 2, 3]), np.zeros_like(lesion)))
    assert np.isnan(nothing["lesion_sensitivity"])
    assert nothing["false_clusters"] == 3


def test_every_lesion_has_its_size_and_whether_a_ranked_cluster_hits_it() -> None:
    labels = np.zeros((60, 12, 12), int)
    for number, place in ((1, 0), (2, 10), (3, 40)):
        labels[place : place + 3, 2:5, 2:5] = number
    lesion = np.zeros(labels.shape, bool)
    lesion[12:14, 4:6, 4:6] = True  # touched by the second cluster in a corner
    lesion[40:43, 2:4, 2:4] = True  # by the third, which is not among the ranked
    lesion[50, 2, 2] = True
    found = segmentation.each_lesion(labels, np.array([2, 1]), lesion)
    assert found == [(12, False), (8, True), (1, False)]
    assert segmentation.each_lesion(labels, np.array([1]), np.zeros_like(lesion)) == []
