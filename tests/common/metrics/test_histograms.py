"""Metrics of merged histograms: the sites' counts add up to the pooled ones, and the brackets are reached."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lesions import case, merged, ranked
from scipy import ndimage
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score, roc_curve

from normfed_common.metrics import curves, histograms

SCORES = hnp.arrays(np.float64, st.integers(0, 30), elements=st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0, 9.0]))


EDGES = np.array([-0.5, 0.0, 1.0, 3.0])


COUNTS = st.integers(1, 4).flatmap(lambda bins: st.tuples(*2 * [hnp.arrays(int, bins, elements=st.integers(0, 4))]))


@given(SCORES)
def test_a_bin_begins_with_its_edge(scores: np.ndarray) -> None:
    found = histograms.bin_of(scores, EDGES)
    assert found.tolist() == [sum(edge <= score for edge in EDGES) for score in scores]
    assert histograms.count(scores, EDGES).tolist() == [int((found == b).sum()) for b in range(len(EDGES) + 1)]


@settings(max_examples=30)
@given(st.lists(SCORES, min_size=1, max_size=4))
def test_counts_of_sites_add_up_to_the_pooled_counts(sites: list[np.ndarray]) -> None:
    pooled = np.concatenate(sites)
    np.testing.assert_array_equal(
        reduce(np.add, [histograms.count(scores, EDGES) for scores in sites]), histograms.count(pooled, EDGES)
    )
    np.testing.assert_array_equal(
        reduce(np.add, [histograms.coarse_counts(scores, -2.0, 9.0) for scores in sites]),
        histograms.coarse_counts(pooled, -2.0, 9.0),
    )


@given(SCORES, st.data())
def test_weights_are_summed_per_bin(scores: np.ndarray, data: st.DataObject) -> None:
    weights = data.draw(hnp.arrays(float, len(scores), elements=st.floats(0, 1)))
    expected = [weights[histograms.bin_of(scores, EDGES) == b].sum() for b in range(len(EDGES) + 1)]
    np.testing.assert_allclose(histograms.count(scores, EDGES, weights), expected, atol=1e-12)


def test_scores_that_are_all_the_same_are_counted_too() -> None:
    counts = histograms.coarse_counts(np.full(5, 2.5), 2.5, 2.5)
    assert (counts.sum(), counts.dtype) == (5, np.int64)
    nobody = np.zeros(histograms.COARSE_BINS, np.int64)
    edges = histograms.quantile_edges(counts, nobody, 2.5, 2.5, 10)
    assert (np.diff(edges) > 0).all()
    assert histograms.count(np.full(5, 2.5), edges).max() == 5
    assert histograms.quantile(counts, 2.5, 2.5, 0.5) == pytest.approx(2.5, abs=1e-4)


@settings(max_examples=30)
@given(hnp.arrays(float, st.integers(1, 50), elements=st.floats(0, 10)), st.floats(0.01, 1))
def test_a_quantile_is_numpys_rounded_up_to_the_grid(scores: np.ndarray, probability: float) -> None:
    counts = histograms.coarse_counts(scores, 0.0, 10.0)
    found = histograms.quantile(counts, 0.0, 10.0, probability)
    cell = 10 / histograms.COARSE_BINS
    exact = np.quantile(scores, probability, method="inverted_cdf")
    assert -1e-9 <= found - exact <= cell + 1e-9


def test_a_quantile_of_nobody_is_undefined() -> None:
    assert np.isnan(histograms.quantile(np.zeros(histograms.COARSE_BINS, np.int64), 0.0, 1.0, 0.5))


@pytest.mark.parametrize("bins", [2, 7, 50])
def test_between_two_edges_lies_no_more_than_one_quantile_of_either_kind(bins: int) -> None:
    rng = np.random.default_rng(bins)
    normal, lesion = rng.gamma(2, size=4000), rng.gamma(6, size=900)
    high = float(max(normal.max(), lesion.max()))
    coarse = [histograms.coarse_counts(scores, 0.0, high) for scores in (normal, lesion)]
    edges = histograms.quantile_edges(*coarse, 0.0, high, bins)
    assert (edges[0], edges[-1]) == (0.0, high)
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 2 * (bins - 1) + 2
    for scores in (normal, lesion):
        assert histograms.count(scores, edges).max() <= len(scores) / bins + 3  # those of one cell of the grid more


def test_without_lesions_the_edges_are_those_of_normal_voxels_alone() -> None:
    normal = histograms.coarse_counts(np.arange(100.0), 0.0, 99.0)
    edges = histograms.quantile_edges(normal, np.zeros_like(normal), 0.0, 99.0, 4)
    above = edges - [0, 24, 49, 74, 99]
    assert (above[0], above[-1]) == (0, 0)
    assert ((above[1:-1] > 0) & (above[1:-1] <= 99 / histograms.COARSE_BINS)).all()  # a quarter lies below each


def unfolded(normal: np.ndarray, lesion: np.ndarray, shift: float, together: bool) -> tuple[np.ndarray, np.ndarray]:
    """Truth and scores of voxels with these counts; inside a bin the lesion voxels score ``shift`` higher."""
    truth = np.concatenate([np.zeros(normal.sum()), np.ones(lesion.sum())])
    bins = np.concatenate([np.repeat(np.arange(len(counts)), counts) for counts in (normal, lesion)])
    apart = np.zeros(len(truth)) if together else np.linspace(0, 0.1, len(truth))
    return truth, bins + shift * truth + apart * truth


@settings(max_examples=30)
@given(COUNTS)
def test_the_brackets_ends_are_the_worst_and_the_best_that_the_order_inside_bins_can_do(
    counts: tuple[np.ndarray, np.ndarray],
) -> None:
    normal, lesion = counts
    if not normal.sum() or not lesion.sum():
        return
    found = merged(normal, lesion, lesion / lesion.sum())
    as_is, worst, best = (
        unfolded(normal, lesion, shift, together) for shift, together in ((0, True), (-0.5, False), (0.5, True))
    )
    assert found["auroc"].value == pytest.approx(roc_auc_score(*as_is))
    assert found["auroc"].low == pytest.approx(roc_auc_score(*worst))
    assert found["auroc"].high == pytest.approx(roc_auc_score(*best))
    assert found["auprc"].value == pytest.approx(average_precision_score(*as_is))
    assert found["auprc"].low == pytest.approx(average_precision_score(*worst))
    assert found["auprc"].high == pytest.approx(average_precision_score(*best))
    for end, (truth, scores) in ((found["best_dice"].low, worst), (found["best_dice"].high, best)):
        assert end == pytest.approx(max(f1_score(truth, scores >= t) for t in np.unique(scores)))


@given(COUNTS)
def test_with_at_most_one_kind_of_voxel_in_a_bin_nothing_is_left_open(counts: tuple[np.ndarray, np.ndarray]) -> None:
    """Where bins are fine enough, merged metrics are those of one scan with these voxels."""
    normal, lesion = (np.stack(pair, 1).ravel() for pair in ((counts[0], 0 * counts[0]), (0 * counts[1], counts[1])))
    if not normal.sum() or not lesion.sum():
        return
    truth, scores = unfolded(normal, lesion, 0, together=True)
    grid = (len(truth), 1, 1)
    exact = ranked(curves.curve(scores.reshape(grid), truth.astype(bool).reshape(grid), np.ones(grid, bool)))
    found = merged(normal, lesion, lesion.astype(float))  # one region
    for name, bracket in found.items():
        assert bracket.value == pytest.approx(exact[name], abs=1e-12), name
        if name != "auprc":  # whose ties among lesion voxels alone stay open
            assert (bracket.low, bracket.high) == pytest.approx((exact[name], exact[name]), abs=1e-12), name


@pytest.mark.parametrize("bins", [5, 60])
@pytest.mark.parametrize("seed", range(8))
def test_region_overlap_of_all_scans_lies_in_its_bracket(seed: int, bins: int) -> None:
    """Against AUPRO over all scans' lesions, at every threshold in turn."""
    scans = [case(50 * seed + number, ties=True) for number in range(2)]
    regions = [ndimage.label(lesion & mask, np.ones((3, 3, 3))) for _, lesion, mask in scans]
    x, y = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([scores[mask] for scores, _, mask in scans]))[::-1]:
        normal = sum(((scores >= threshold) & mask & ~lesion).sum() for scores, lesion, mask in scans)
        x.append(normal / sum((mask & ~lesion).sum() for _, lesion, mask in scans))
        y.append(
            np.mean(
                [
                    (scores[labels == k] >= threshold).mean()
                    for (scores, _, _), (labels, count) in zip(scans, regions, strict=True)
                    for k in range(1, count + 1)
                ]
            )
        )
    low, high = (float(end(np.concatenate([s[m] for s, _, m in scans]))) for end in (np.min, np.max))
    coarse = [
        sum(histograms.coarse_counts(s[m & (le == kind)], low, high) for s, le, m in scans) for kind in (False, True)
    ]
    edges = histograms.quantile_edges(*coarse, low, high, bins)
    found = merged(
        *(sum(histograms.count(s[m & (le == kind)], edges) for s, le, m in scans) for kind in (False, True)),
        sum(
            histograms.count(s[m], edges, curves.region_weights(le & m)[m] * count)
            for (s, le, m), (_, count) in zip(scans, regions, strict=True)
        ),
    )
    for name, limit in (("aupro", 1.0), ("aupro30", curves.FPR_LIMIT)):
        exact = curves.area(np.array(x), np.array(y), limit)
        assert found[name].low - 1e-9 <= exact <= found[name].high + 1e-9


def test_without_normal_voxels_nothing_is_defined() -> None:
    found = merged(np.zeros(2, int), np.array([3, 4]), np.array([0.5, 0.5]))
    scan = ranked(curves.curve(*case(0)))
    assert found.keys() == scan.keys()
    assert all(np.isnan([bracket.value, bracket.low, bracket.high]).all() for bracket in found.values())


@pytest.mark.parametrize("bins", [10, 100])
@pytest.mark.parametrize("seed", range(50))
def test_merged_histograms_bracket_the_exact_pooled_metrics(seed: int, bins: int) -> None:
    patients = [case(1000 * seed + i, ties=seed % 2 == 0) for i in range(3)]
    inside = [(scores[mask], (lesion & mask)[mask]) for scores, lesion, mask in patients]
    low = float(min(s.min() for s, _ in inside))
    high = float(max(s.max() for s, _ in inside))
    normal = sum(histograms.coarse_counts(s[~t], low, high) for s, t in inside)
    lesion = sum(histograms.coarse_counts(s[t], low, high) for s, t in inside)
    edges = histograms.quantile_edges(normal, lesion, low, high, bins)
    found = merged(
        sum(histograms.count(s[~t], edges) for s, t in inside),
        sum(histograms.count(s[t], edges) for s, t in inside),
        sum(
            histograms.count(
                s[m], edges, curves.region_weights(le & m)[m] * ndimage.label(le & m, np.ones((3, 3, 3)))[1]
            )
            for s, le, m in patients
        ),
    )
    values, truth = (np.concatenate(parts) for parts in zip(*inside, strict=True))
    fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(truth, values)
    keep = fpr <= 0.3
    exact = {
        "auroc": roc_auc_score(truth, values),
        "auroc30": np.trapezoid(np.append(tpr[keep], np.interp(0.3, fpr, tpr)), np.append(fpr[keep], 0.3)) / 0.3,
        "auprc": average_precision_score(truth, values),
        "best_dice": float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))),
    }
    for name, value in exact.items():
        assert found[name].low - 1e-9 <= value <= found[name].high + 1e-9, name
        assert found[name].low <= found[name].value <= found[name].high


def test_finer_histograms_give_tighter_brackets() -> None:
    scores, lesion, mask = case(3)
    values, truth = scores[mask], lesion[mask]
    low, high = float(values.min()), float(values.max())
    counts = [histograms.coarse_counts(values[t], low, high) for t in (~truth, truth)]
    widths = []
    for bins in (10, 100, 1000):
        edges = histograms.quantile_edges(*counts, low, high, bins)
        found = merged(*(histograms.count(values[t], edges) for t in (~truth, truth, truth)))
        widths.append(found["auroc"].high - found["auroc"].low)
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 1e-3


def test_merged_metrics_without_lesions_are_undefined() -> None:
    found = merged(np.array([3, 4]), np.zeros(2, int), np.zeros(2))
    assert all(np.isnan(b.value) for b in found.values())


def test_quantile_of_coarse_counts_is_numpys_within_a_bin() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=100_000)
    counts = histograms.coarse_counts(values, 0.0, float(values.max()))
    width = values.max() / histograms.COARSE_BINS
    assert histograms.quantile(counts, 0.0, float(values.max()), 0.98) == pytest.approx(
        np.quantile(values, 0.98), abs=3 * width
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 30.0), (0.31, 12.7), (1e6, 1e6 + 1)])
def test_coarse_counts_are_between_the_edges_of_the_grid_whatever_the_type_of_the_scores(
    low: float, high: float
) -> None:
    """A threshold is an edge of the grid: a voxel in the bin above it is to be above it."""
    rng = np.random.default_rng(0)
    scores = (low + (high - low) * rng.random(50_000)).astype(np.float32)
    edges = np.append(histograms.grid(low, high)[:-1], np.inf)
    expected = np.bincount(np.searchsorted(edges, scores.astype(np.float64), side="right") - 1)
    found = histograms.coarse_counts(scores, low, high)
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert found.sum() == len(scores)


def test_scores_beyond_the_range_count_as_its_ends() -> None:
    found = histograms.coarse_counts(np.array([-1.0, 0.5, 2.0, 3.0]), 0.0, 1.0)
    assert (found[0], found[-1], found.sum()) == (1, 2, 4)
