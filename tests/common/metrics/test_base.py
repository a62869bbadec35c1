"""A metric keeps to what it says of itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lesions import case
from toy_metric import METRIC

from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.metrics import base
from normfed_common.metrics.base import Metric, ScoredScan, figures
from normfed_common.metrics.catalogue import BUILT_IN


def scan() -> ScoredScan:
    scores, lesion, mask = case(0)
    return ScoredScan(scores, lesion, mask, 4.0, 1.0)


@pytest.mark.parametrize("value", [-1.5, 1.5, float("inf"), float("-inf")])
def test_a_figure_beyond_its_bounds_is_refused_in_words(value: float) -> None:
    metric = replace(METRIC, compute=lambda _: value)
    with pytest.raises(SiteError) as caught:
        metric(scan())
    assert caught.value.code is SiteCode.METRIC_UNUSABLE
    assert caught.value.detail.startswith(
        f"The metric 'peak' is {value:g} for a scan, but claims to lie between -1 and 1"
    )


@pytest.mark.parametrize("value", [-1.0, 1.0, 1.0 + 1e-9])
def test_a_figure_at_its_bounds_may_be_off_by_rounding(value: float) -> None:
    assert replace(METRIC, compute=lambda _: value)(scan()) == value


@pytest.mark.parametrize(
    ("lowest", "highest"), [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0), (float("-inf"), 0.0)]
)
def test_bounds_are_finite_and_in_order(lowest: float, highest: float) -> None:
    with pytest.raises(ValueError, match="finite bounds"):
        Metric("x", "x", lambda _: 0.0, lowest=lowest, highest=highest)


def test_what_metrics_share_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for module, name in ((base, "curve"), (base.segmentation, "ranked_clusters")):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=function, n=name: (made.append(n), f(*a))[1])
    figures(BUILT_IN, scan())
    assert sorted(made) == ["curve", "ranked_clusters"]


def test_every_built_in_figure_has_a_name() -> None:
    found = figures(BUILT_IN, scan())
    assert list(found) == [metric.name for metric in BUILT_IN]
    assert np.isnan(found["conformal_p"])  # nobody to compare with


def bars(*lengths: int) -> np.ndarray:
    """One bar of 5.0 per length, far from each other, on a floor of 0."""
    scores = np.zeros((3, 3, 8 * len(lengths)))
    for number, length in enumerate(lengths):
        scores[1, 1, 8 * number : 8 * number + length] = 5.0
    return scores


def test_a_voxel_at_the_threshold_is_abnormal_but_none_outside_the_mask() -> None:
    scores, mask = bars(3), np.ones((3, 3, 8), bool)
    mask[1, 1, 0] = False
    nothing = np.zeros(scores.shape, bool)
    assert np.argwhere(ScoredScan(scores, nothing, mask, 1.0, threshold=5.0).abnormal).tolist() == [
        [1, 1, 1],
        [1, 1, 2],
    ]
    assert not ScoredScan(scores, nothing, mask, 1.0, threshold=5.1).abnormal.any()
    assert not ScoredScan(scores, nothing, mask, 1.0).abnormal.any()  # only ranked: no threshold


def test_with_thresholds_of_their_own_classes_are_judged_as_if_their_scores_stood_on_one_level() -> None:
    scores, lesion, mask = case(3)
    raised = np.zeros(scores.shape, np.float32)
    raised[: len(scores) // 2] = 0.25  # scores of one half are that much higher
    plain = ScoredScan(scores.astype(np.float32), lesion, mask, 4.0, 1.0)
    lifted = ScoredScan(plain.scores + raised, lesion, mask, 4.0, 1.0, thresholds=np.float32(1.0) + raised)
    same = ScoredScan(plain.scores, lesion, mask, 4.0, 1.0, thresholds=np.full(scores.shape, 1.0, np.float32))
    assert plain.abnormal.any()
    assert plain.detection.false_clusters > 0
    for other in (lifted, same):
        np.testing.assert_array_equal(other.abnormal, plain.abnormal)
        assert other.detection == plain.detection
    assert not np.array_equal(replace(lifted, thresholds=None).abnormal, plain.abnormal)


@pytest.mark.parametrize(("minimum", "counted"), [({}, 3), ({"minimum_cluster_voxels": 2}, 2)])
def test_clusters_count_from_the_scans_own_minimum_on(minimum: dict[str, int], counted: int) -> None:
    scores = bars(1, 2, 3)
    scan = ScoredScan(scores, np.zeros(scores.shape, bool), np.ones(scores.shape, bool), 1.0, threshold=4.0, **minimum)
    assert scan.detection.false_clusters == counted


@pytest.mark.parametrize(
    ("apart", "tolerance", "agree"),
    [
        (1, {}, True),
        (2, {}, False),
        (2, {"surface_tolerance_mm": 2.0}, True),
        (1, {"surface_tolerance_mm": 0.5}, False),
    ],
    ids=["1 mm", "2 mm", "2 mm of 2", "1 mm of a half"],
)
def test_surfaces_agree_within_a_millimetre_unless_told_otherwise(
    apart: int, tolerance: dict[str, float], agree: bool
) -> None:
    """Two slabs, one of whose faces is so many millimetres above the other's."""
    found, lesion = np.zeros((2, 12, 12, 12))
    found[3:9], lesion[3 : 9 - apart] = 1.0, 1.0
    scan = ScoredScan(found, lesion > 0, np.ones(found.shape, bool), 1.0, threshold=1.0, **tolerance)
    share = figures(BUILT_IN, scan)["surface_dice"]
    assert (share > 0.99) is agree


def test_a_voxel_at_its_own_threshold_is_abnormal_for_clusters_as_for_overlap() -> None:
    rng = np.random.default_rng(0)
    thresholds = (3 * rng.random((8, 8, 8)) ** 3).astype(np.float32)
    moved = rng.integers(-1, 2, thresholds.shape)  # a float32 below its threshold, at it, and above
    scores = np.nextafter(thresholds, np.float32(9) * moved.astype(np.float32), where=moved != 0, out=thresholds.copy())
    whole = np.ones(scores.shape, bool)
    scan = ScoredScan(scores, whole, whole, 2.0, float(np.float32(0.7)), thresholds=thresholds)
    np.testing.assert_array_equal(scan.abnormal, moved >= 0)
    np.testing.assert_array_equal(scan.levelled >= scan.threshold, scan.abnormal)
