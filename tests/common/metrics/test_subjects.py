"""Figures over people, against SciPy, statsmodels and counting one person at a time."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import mannwhitneyu, scoreatpercentile

from normfed_common.metrics import subjects

EDGES = np.array([0.0, 1.0, 2.0, 3.0])
BINS = len(EDGES) + 1
PEOPLE = hnp.arrays(int, st.integers(1, 20), elements=st.integers(0, BINS - 1))


def counted(bins: np.ndarray) -> np.ndarray:
    return np.bincount(bins, minlength=BINS)


def test_a_persons_score_is_exceeded_by_two_percent_of_the_brain() -> None:
    rng = np.random.default_rng(0)
    scores, mask = rng.random((8, 9, 10)), rng.random((8, 9, 10)) < 0.5
    expected = scoreatpercentile(scores[mask], 98)
    assert subjects.subject_score(np.where(mask, scores, 1e9), mask) == pytest.approx(expected)


@given(PEOPLE, PEOPLE)
def test_image_auroc_is_the_mann_whitney_statistic(normal: np.ndarray, ill: np.ndarray) -> None:
    expected = mannwhitneyu(ill, normal).statistic / (len(ill) * len(normal))
    assert subjects.image_auroc(normal, ill) == pytest.approx(expected)
    assert subjects.image_auroc_from_counts(counted(normal), counted(ill)) == pytest.approx(expected)


@given(st.lists(st.tuples(PEOPLE, PEOPLE), min_size=2, max_size=4))
def test_image_auroc_of_the_sites_counts_added_up_is_the_pooled_one(sites: list[tuple[np.ndarray, np.ndarray]]) -> None:
    added = (reduce(np.add, [counted(part) for part in parts]) for parts in zip(*sites, strict=True))
    pooled = (np.concatenate(parts) for parts in zip(*sites, strict=True))
    assert subjects.image_auroc_from_counts(*added) == pytest.approx(subjects.image_auroc(*pooled))


@pytest.mark.parametrize("nobody", [0, 1])
def test_image_auroc_needs_people_of_both_kinds(nobody: int) -> None:
    scores = [np.array([1.0, 2.0]), np.array([3.0])]
    scores[nobody] = np.array([])
    with np.errstate(all="raise"):
        assert np.isnan(subjects.image_auroc(*scores))
    assert np.isnan(subjects.image_auroc_from_counts(*(np.histogram(s, [0, 2, 4])[0] for s in scores)))


@given(PEOPLE, st.floats(-1, 4))
def test_a_conformal_p_counts_everybody_in_the_scores_own_bin_as_above(bins: np.ndarray, score: float) -> None:
    own = sum(edge <= score for edge in EDGES)
    expected = (1 + sum(b >= own for b in bins)) / (len(bins) + 1)
    assert subjects.conformal_p(score, EDGES, counted(bins)) == pytest.approx(expected)


@given(st.lists(PEOPLE, min_size=2, max_size=4))
def test_exceedance_error_is_that_of_each_persons_p_against_the_other_sites(sites: list[np.ndarray]) -> None:
    errors = []
    for place, own in enumerate(sites):
        others = np.concatenate([bins for other, bins in enumerate(sites) if other != place])
        p = np.array([(1 + (others >= person).sum()) / (1 + len(others)) for person in own])
        levels = [number / 20 for number in range(1, 20)]
        errors.append(np.mean([abs((p <= level).mean() - level) for level in levels]))
    counts = {str(place): counted(bins) for place, bins in enumerate(sites)}
    assert subjects.exceedance_error(counts) == pytest.approx(np.mean(errors))
    assert subjects.exceedance_error(counts | {"nobody": np.zeros(BINS, int)}) == pytest.approx(np.mean(errors))


def test_exceedance_error_of_one_site_with_people_is_undefined() -> None:
    assert np.isnan(subjects.exceedance_error({"a": counted(np.array([1])), "b": np.zeros(BINS, int)}))


REFERENCE = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def test_pairs_in_which_one_is_undefined_are_left_out() -> None:
    other = REFERENCE + np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, np.nan])
    found = subjects.wilcoxon_holm(np.append(REFERENCE, np.nan), {"a": np.append(other, 5.0)})
    assert found["a"] == pytest.approx(2 / 2**6)  # exact: all six signs alike


def test_fewer_than_six_pairs_are_not_tested_and_do_not_count_in_the_correction() -> None:
    few = np.where(np.arange(7) < 5, REFERENCE + 0.1, np.nan)
    clear = REFERENCE + np.arange(1, 8) / 100
    found = subjects.wilcoxon_holm(REFERENCE, {"few": few, "clear": clear})
    assert np.isnan(found["few"])
    assert found["clear"] == pytest.approx(2 / 2**7)


def test_a_method_that_never_differs_has_a_p_of_one() -> None:
    assert subjects.wilcoxon_holm(REFERENCE, {"same": REFERENCE.copy()}) == {"same": 1.0}


def test_corrected_p_values_never_fall_with_the_raw_ones_nor_exceed_one() -> None:
    clear = REFERENCE + np.arange(1, 8) / 100
    mixed = REFERENCE + np.array([1, -2, 3, -4, 5, -6, 7]) / 100
    found = subjects.wilcoxon_holm(REFERENCE, {"mixed": mixed, "clear": clear, "again": clear, "same": REFERENCE})
    assert list(found) == ["mixed", "clear", "again", "same"]
    assert found["clear"] == found["again"] == pytest.approx(4 * 2 / 2**7)
    assert found["mixed"] == found["same"] == 1.0
