"""One scan's curves against scikit-learn's, and against counting threshold by threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lesions import case, ranked
from scipy import ndimage
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from normfed_common.metrics import curves

SHORT = st.integers(2, 40).flatmap(
    lambda voxels: st.tuples(
        hnp.arrays(np.float64, voxels, elements=st.sampled_from([-1.5, 0.0, 0.25, 3.0, 7.5])),
        hnp.arrays(bool, voxels),
    )
)


def line(scores: np.ndarray, truth: np.ndarray) -> curves.Curve:
    """The curve of a scan that is one row of voxels, all of them inside the mask."""
    grid = (len(scores), 1, 1)
    return curves.curve(scores.reshape(grid), truth.reshape(grid), np.ones(grid, bool))


@given(SHORT)
def test_counts_are_those_of_every_threshold_in_turn(scan: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = scan
    found = line(scores, truth)
    thresholds = [np.inf, *np.unique(scores)[::-1]]
    assert found.negatives.tolist() == [int(((scores >= t) & ~truth).sum()) for t in thresholds]
    assert found.positives.tolist() == [int(((scores >= t) & truth).sum()) for t in thresholds]


@settings(max_examples=30)
@given(SHORT)
def test_areas_are_scikit_learns_whatever_ties(scan: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = scan
    if not 0 < truth.sum() < len(truth):
        return
    found = ranked(line(scores, truth))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found["auprc"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found["auroc30_mcclish"] == pytest.approx(roc_auc_score(truth, scores, max_fpr=0.3), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_only_the_order_of_scores_counts(seed: int) -> None:
    scores, lesion, mask = case(seed, ties=True)
    plain = ranked(curves.curve(scores, lesion, mask))
    assert ranked(curves.curve(np.exp(scores.astype(float)), lesion, mask)) == plain


@pytest.mark.parametrize("seed", range(3))
def test_scores_and_lesions_outside_the_mask_count_for_nothing(seed: int) -> None:
    scores, lesion, mask = case(seed)
    plain = ranked(curves.curve(scores, lesion, mask))
    other = curves.curve(np.where(mask, scores, 1e6), lesion & mask, mask)
    assert ranked(other) == plain
    assert curves.curve(scores, lesion, mask).overlap[-1] == pytest.approx(1)  # of the lesions' parts inside


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    lesion = np.zeros((6, 6, 6), bool)
    lesion[0, 0, 0] = lesion[1, 1, 1] = True
    lesion[4, 4, 4] = True
    weights = curves.region_weights(lesion)
    assert weights[0, 0, 0] == weights[1, 1, 1] == 0.25
    assert weights[4, 4, 4] == 0.5
    assert weights[~lesion].sum() == 0


def test_an_area_without_a_limit_is_that_over_all_rates() -> None:
    assert curves.area(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0])) == pytest.approx(0.75)


def test_a_scan_without_lesions_has_no_weights() -> None:
    assert not curves.region_weights(np.zeros((3, 4, 5), bool)).any()


ASCENDING = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=12).map(
    lambda points: np.sort(np.array([(0, 0), *points, (20, 20)]), axis=0).T / 20
)


@given(ASCENDING, st.integers(1, 20))
def test_an_area_up_to_a_limit_is_scikit_learns_of_the_curve_cut_there(curve: np.ndarray, twentieths: int) -> None:
    """A curve may rise straight up, at the limit too."""
    (x, y), limit = curve, twentieths / 20
    keep = x <= limit
    beyond = np.flatnonzero(~keep)[:1]
    before = int(keep.sum()) - 1
    end = y[before]
    if len(beyond):
        end += (y[beyond[0]] - y[before]) * (limit - x[before]) / (x[beyond[0]] - x[before])
    expected = auc(np.append(x[keep], limit), np.append(y[keep], end)) / limit
    assert curves.area(x, y, limit) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("undefined", ["x", "y"])
def test_an_area_over_what_is_undefined_is_undefined(undefined: str) -> None:
    axes = {"x": np.array([0.0, 1.0]), "y": np.array([0.0, 1.0])} | {undefined: np.full(2, np.nan)}
    assert np.isnan(curves.area(axes["x"], axes["y"]))


def test_a_scan_without_normal_voxels_has_no_false_positive_rate_and_nothing_to_rank() -> None:
    found = line(np.array([1.0, 2.0]), np.array([True, True]))
    assert np.isnan(found.fpr).all()
    assert found.tpr.tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(list(ranked(found).values())).all()  # average precision too: finding all of it is no feat


def slow_aupro(scores: np.ndarray, lesion: np.ndarray, mask: np.ndarray, limit: float) -> float:
    """AUPRO threshold by threshold, as its definition reads."""
    labels, count = ndimage.label(lesion & mask, np.ones((3, 3, 3)))
    x, y = [0.0], [0.0]
    for threshold in np.unique(scores[mask])[::-1]:
        found = (scores >= threshold) & mask
        x.append((found & ~lesion).sum() / (mask & ~lesion).sum())
        y.append(np.mean([found[labels == k].mean() for k in range(1, count + 1)]))
    grid = np.concatenate([np.array(x)[np.array(x) <= limit], [limit]])
    return float(
        np.trapezoid(np.concatenate([np.array(y)[np.array(x) <= limit], [np.interp(limit, x, y)]]), grid) / limit
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_voxel_metrics_equal_scikit_learns(seed: int, ties: bool) -> None:
    scores, lesion, mask = case(seed, ties)
    found = ranked(curves.curve(scores, lesion, mask))
    truth, values = lesion[mask], scores[mask]
    fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
    keep = fpr <= 0.3
    plain = np.trapezoid(np.append(tpr[keep], np.interp(0.3, fpr, tpr)), np.append(fpr[keep], 0.3)) / 0.3
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    assert found["auroc30"] == pytest.approx(plain, abs=1e-12)
    assert found["auroc30_mcclish"] == pytest.approx(roc_auc_score(truth, values, max_fpr=0.3), abs=1e-12)
    assert found["auprc"] == pytest.approx(average_precision_score(truth, values), abs=1e-12)
    precision, recall, _ = precision_recall_curve(truth, values)
    assert found["best_dice"] == pytest.approx(
        np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_aupro_equals_its_definition_threshold_by_threshold(seed: int) -> None:
    scores, lesion, mask = case(seed, ties=True)
    found = ranked(curves.curve(scores, lesion, mask))
    assert found["aupro"] == pytest.approx(slow_aupro(scores, lesion, mask, 1.0), abs=1e-10)
    assert found["aupro30"] == pytest.approx(slow_aupro(scores, lesion, mask, 0.3), abs=1e-10)


def test_aupro_counts_each_lesion_the_same_whatever_its_size() -> None:
    lesion = np.zeros((20, 20, 20), bool)
    lesion[2:10, 2:10, 2:10] = True
    lesion[15, 15, 15] = True
    scores = np.where(lesion, 1.0, 0.0)
    scores[15, 15, 15] = -1.0  # the small one is missed entirely
    found = ranked(curves.curve(scores, lesion, np.ones_like(lesion)))
    assert found["aupro"] == pytest.approx(0.5, abs=0.01)  # one of two lesions at once, the other only with everything
    assert found["auroc"] > 0.99


def test_chance_and_perfection_have_their_textbook_values() -> None:
    assert curves.area(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.3) == pytest.approx(0.15)
    assert curves.mcclish(0.15) == pytest.approx(0.5)
    assert curves.mcclish(1.0) == pytest.approx(1.0)


def test_without_lesions_metrics_are_undefined_not_zero() -> None:
    scores, lesion, mask = case(0)
    found = ranked(curves.curve(scores, np.zeros_like(lesion), mask))
    assert all(np.isnan(value) for value in found.values())
    found = ranked(curves.curve(scores, np.ones_like(lesion), mask))
    assert np.isnan(found["auroc"])
