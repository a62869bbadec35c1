"""Thresholds, false positives and p-values from histograms against the scores themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from normfed_common.foundation.errors import WireError
from normfed_common.metrics import calibration, histograms
from normfed_common.metrics.calibration import NormalVoxels
from normfed_common.metrics.tissue import CLASSES

HIGH = 40.0
STEP = HIGH / histograms.COARSE_BINS


def scores(seed: int, sizes: tuple[int, ...] = (4000, 3000, 500, 2000)) -> list[np.ndarray]:
    """Of every class, each spread otherwise."""
    rng = np.random.default_rng(seed)
    return [
        np.minimum(rng.gamma(2, 1 + number, size), HIGH).astype(np.float32).astype(float)
        for number, size in enumerate(sizes)
    ]


def coarse(parts: list[np.ndarray]) -> np.ndarray:
    return np.stack([histograms.coarse_counts(part, 0.0, HIGH) for part in parts])


@pytest.mark.parametrize("specificity", [0.6, 0.95, 0.98, 0.995])
def test_thresholds_are_the_quantiles_of_each_class_within_a_bin(specificity: float) -> None:
    parts = scores(1)
    counts = coarse(parts)
    found, lacking = calibration.thresholds(counts, counts.sum(0), 0.0, HIGH, specificity)
    assert not lacking.any()
    for threshold, part in zip(found, parts, strict=True):
        exact = np.quantile(part, specificity, method="inverted_cdf")
        assert 0 <= threshold - exact <= STEP * (1 + 1e-9)


def test_a_class_of_nobody_has_the_threshold_of_the_whole_brain() -> None:
    parts = scores(2, (4000, 0, 500, 0))
    counts = coarse(parts)
    found, lacking = calibration.thresholds(counts, counts.sum(0), 0.0, HIGH, 0.98)
    assert lacking.tolist() == [False, True, False, True]
    whole = np.quantile(np.concatenate(parts), 0.98, method="inverted_cdf")
    assert found[1] == found[3] == pytest.approx(whole, abs=STEP)
    assert np.isnan(calibration.thresholds(counts * 0, counts[0] * 0, 0.0, HIGH, 0.98)[0]).all()


def test_what_lies_at_or_above_a_threshold_is_counted_as_from_the_scores() -> None:
    parts, others = scores(3), scores(4)
    counts = coarse(others)
    levels, _ = calibration.thresholds(counts, counts.sum(0), 0.0, HIGH, 0.9)
    exact = sum((part >= level).sum() for part, level in zip(parts, levels, strict=True))
    assert calibration.at_or_above(coarse(parts), 0.0, HIGH, levels) == exact


def test_a_threshold_at_the_end_of_the_range_is_reached_by_the_highest_scores() -> None:
    """As of a map of noughts and ones, where more than the promised share are ones."""
    counts = coarse([np.repeat([0.0, HIGH], [90, 10])])
    levels, _ = calibration.thresholds(counts, counts[0], 0.0, HIGH, 0.98)
    assert levels.tolist() == [HIGH]
    assert calibration.at_or_above(counts, 0.0, HIGH, levels) == 10


def between(parts: list[np.ndarray], edges: np.ndarray) -> np.ndarray:
    return np.stack([histograms.count(part, edges) for part in parts])


def test_p_values_are_those_of_the_scores_where_bins_are_fine_and_never_smaller() -> None:
    parts, new = scores(5), scores(6)
    classes = np.repeat(np.arange(len(CLASSES)), [len(part) for part in new])
    exact = np.concatenate(
        [
            (1 + (part[None] >= values[:, None]).sum(1)) / (len(part) + 1)
            for part, values in zip(parts, new, strict=True)
        ]
    )
    fine = np.unique(np.concatenate(parts))
    found = NormalVoxels(fine, between(parts, fine)).p_values(np.concatenate(new), classes)
    off = np.array([1 / (len(part) + 1) for part in parts])[classes]  # the one score that shares the bin
    assert found.dtype == np.float32
    assert (found >= exact - 1e-6).all()
    assert (found <= exact + off + 1e-6).all()
    few = np.linspace(0, HIGH, 30)
    assert (NormalVoxels(few, between(parts, few)).p_values(np.concatenate(new), classes) >= exact - 1e-6).all()


def test_p_values_of_voxels_drawn_alike_are_uniform_in_each_class() -> None:
    parts, new = scores(7), scores(8)
    edges = np.unique(np.quantile(np.concatenate(parts), np.linspace(0, 1, 2000)))
    normal = NormalVoxels(edges, between(parts, edges))
    for number, values in enumerate(new):
        p = normal.p_values(values, np.full(len(values), number))
        distance = stats.kstest(p, "uniform").statistic
        expected = np.sqrt(-np.log(0.001 / 2) / 2 * (1 / len(values) + 1 / len(parts[number])))  # both are samples
        assert distance < expected + 1 / 400, CLASSES[number]
        other = (number + 1) % len(CLASSES)  # judged by another class they are not
        wrong = normal.p_values(values, np.full(len(values), other))
        assert stats.kstest(wrong, "uniform").statistic > 2 * distance


def test_a_class_without_counts_is_judged_by_all_together_and_the_highest_score_has_one_over_n_plus_one() -> None:
    edges = np.array([1.0, 2.0])
    counts = np.array([[3, 0, 0], [0, 0, 0], [0, 2, 0], [0, 0, 4]])
    found = NormalVoxels(edges, counts).p_values(np.array([5.0, 5.0, 1.5]), np.array([0, 1, 1]))
    np.testing.assert_allclose(found, [1 / 4, 5 / 10, 7 / 10], rtol=1e-6)


def test_every_class_may_be_compared_with_the_whole_brain() -> None:
    parts = scores(9)
    edges = np.linspace(0, HIGH, 50)
    one = NormalVoxels(edges, between([np.concatenate(parts), *([np.zeros(0)] * 3)], edges))
    values, classes = np.concatenate(parts), np.repeat(np.arange(len(CLASSES)), [len(part) for part in parts])
    found = NormalVoxels(edges, between(parts, edges)).whole().p_values(values, classes)
    np.testing.assert_array_equal(found, one.p_values(values, classes))


@pytest.mark.parametrize(
    "wrong",
    [
        {"edges": np.array([0.0, 2.0, 1.0])},
        {"edges": np.zeros((3, 1))},
        {"counts": np.ones((4, 3), np.int64)},
        {"counts": np.ones((3, 4), np.int64)},
        {"counts": -np.ones((4, 4), np.int64)},
        {"counts": np.ones((4, 4))},
        {"people": np.ones(1)},
    ],
    ids=str,
)
def test_what_is_no_counts_between_edges_is_refused(wrong: dict[str, np.ndarray]) -> None:
    kept = NormalVoxels(np.array([0.0, 1.0, 2.0]), np.ones((4, 4), np.int64)).arrays()
    assert NormalVoxels.of(kept).arrays().keys() == kept.keys()
    with pytest.raises(WireError):
        NormalVoxels.of(kept | wrong)
