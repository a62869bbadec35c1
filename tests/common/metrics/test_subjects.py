"""Figures over people, against SciPy, statsmodels and counting one person at a time."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import mannwhitneyu, scoreatpercentile, wilcoxon
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from normfed_common.metrics import histograms, subjects

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
    assert found["a"].p == pytest.approx(2 / 2**6)  # exact: all six signs alike


def test_fewer_than_six_pairs_are_not_tested_and_do_not_count_in_the_correction() -> None:
    few = np.where(np.arange(7) < 5, REFERENCE + 0.1, np.nan)
    clear = REFERENCE + np.arange(1, 8) / 100
    found = subjects.wilcoxon_holm(REFERENCE, {"few": few, "clear": clear})
    assert found["few"] == subjects.UNTESTED
    assert found["clear"].p == pytest.approx(2 / 2**7)


def test_a_method_that_never_differs_has_a_p_of_one_and_does_not_count_in_the_correction() -> None:
    clear, same = REFERENCE + np.arange(1, 8) / 100, REFERENCE.copy()
    found = subjects.wilcoxon_holm(REFERENCE, {"same": same, "clear": clear, "again": same})
    assert found["same"] == found["again"] == subjects.PairedTest(1.0, 0)
    assert found["clear"].p == pytest.approx(2 / 2**7)


def test_corrected_p_values_never_fall_with_the_raw_ones_nor_exceed_one() -> None:
    clear = REFERENCE + np.arange(1, 8) / 100
    mixed = REFERENCE + np.array([1, -2, 3, -4, 5, -6, 7]) / 100
    found = subjects.wilcoxon_holm(REFERENCE, {"mixed": mixed, "clear": clear, "again": clear, "like it": mixed})
    assert list(found) == ["mixed", "clear", "again", "like it"]
    assert found["clear"].p == found["again"].p == pytest.approx(4 * 2 / 2**7)
    assert found["mixed"].p == found["like it"].p == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_direction_is_that_of_the_one_sided_test_that_is_surer_and_of_the_median_of_means_of_two(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, values = rng.random((2, 15))
    difference = reference - values
    found = subjects.wilcoxon_holm(reference, {"a": values})["a"]
    above, below = (wilcoxon(difference, alternative=side).pvalue for side in ("greater", "less"))
    means_of_two = (difference[:, None] + difference)[np.triu_indices(15)] / 2  # Hodges & Lehmann 1963
    assert found.direction == (1 if above < below else -1) == np.sign(np.median(means_of_two))
    turned = subjects.PairedTest(found.p, -found.direction, found.least)
    assert subjects.wilcoxon_holm(values, {"a": reference})["a"] == turned


@pytest.mark.parametrize("people", [6, 7, 12])
def test_the_least_p_is_that_of_people_who_are_all_on_one_side(people: int) -> None:
    reference = np.arange(1.0, people + 1)
    clear = {"mean": reference / 2, "atlas": reference / 3, "dark": reference / 4}
    mixed = np.where(np.arange(people) % 2, reference - 1, reference + 1)
    found = subjects.wilcoxon_holm(reference, {**clear, "same": reference})
    beside = subjects.wilcoxon_holm(reference, {"mean": reference / 2, "atlas": mixed, "dark": mixed})
    for name in clear:
        assert found[name].least == pytest.approx(found[name].p)  # it is reached
    assert beside["mean"].least == pytest.approx(found["mean"].p)  # whatever is seen


def test_the_least_p_of_a_few_people_beside_many_methods_is_one() -> None:
    reference = np.arange(1.0, 7.0)
    found = subjects.wilcoxon_holm(reference, {str(number): reference / (number + 2) for number in range(33)})
    assert {test.least for test in found.values()} == {1.0}  # 33 · 2 / 2 ** 6 > 1


@pytest.mark.parametrize(("many", "few", "expected"), [(30, 6, [2 / 2**29, 2 / 2**6]), (7, 6, [4 / 2**7, 4 / 2**7])])
def test_the_least_p_of_a_method_with_fewer_pairs_is_corrected_for_those_alone_that_cannot_come_before_it(
    many: int, few: int, expected: list[float]
) -> None:
    reference = np.arange(1.0, many + 1)
    others = {"many": reference / 2, "few": np.where(np.arange(many) < few, reference / 2, np.nan)}
    found = subjects.wilcoxon_holm(reference, others)
    assert [found[name].least for name in others] == pytest.approx(expected)
    assert [found[name].p for name in others] == pytest.approx(expected)


def test_the_direction_is_that_of_ranks_whatever_the_mean_says() -> None:
    gained = np.r_[np.full(38, -0.01), np.full(6, 0.45)]
    found = subjects.wilcoxon_holm(0.4 + gained, {"a": np.full(44, 0.4)})["a"]
    assert gained.mean() > 0
    assert found.p == pytest.approx(wilcoxon(gained, alternative="less").pvalue * 2)
    assert found.direction == -1


@pytest.mark.parametrize("seed", range(5))
def test_image_auroc_equals_scikit_learns_from_scores_and_from_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    normal, ill = rng.integers(0, 20, 15), rng.integers(5, 25, 12)
    exact = roc_auc_score(np.r_[np.zeros(15), np.ones(12)], np.r_[normal, ill])
    assert subjects.image_auroc(normal, ill) == pytest.approx(exact)
    counts = [np.bincount(values, minlength=26) for values in (normal, ill)]
    assert subjects.image_auroc_from_counts(*counts) == pytest.approx(exact)
    assert np.isnan(subjects.image_auroc(np.array([]), ill))


def test_conformal_p_values_of_normal_people_are_valid() -> None:
    rng = np.random.default_rng(0)
    edges = np.linspace(-4, 4, 4001)
    p = []
    for _ in range(3000):
        drawn = rng.standard_normal(20)
        p.append(subjects.conformal_p(drawn[0], edges, histograms.count(drawn[1:], edges)))
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(p) <= level) <= level + 0.025
    assert min(p) == pytest.approx(1 / 20)


def test_a_site_whose_healthy_people_look_ill_shows_in_the_exceedance_error() -> None:
    rng = np.random.default_rng(0)
    edges = np.linspace(-5, 8, 2000)
    alike = {s: histograms.count(rng.standard_normal(60), edges) for s in "abc"}
    shifted = alike | {"c": histograms.count(rng.standard_normal(60) + 3, edges)}
    assert subjects.exceedance_error(alike) < 0.08
    assert subjects.exceedance_error(shifted) > 0.15
    assert np.isnan(subjects.exceedance_error({"a": alike["a"]}))


def test_wilcoxon_with_holms_correction_equals_statsmodels() -> None:
    rng = np.random.default_rng(0)
    reference = rng.random(25)
    others = {name: reference + rng.normal(shift, 0.2, 25) for name, shift in {"a": 0.3, "b": 0.05, "c": 0.12}.items()}
    raw = [wilcoxon(values - reference).pvalue for values in others.values()]
    expected = multipletests(raw, method="holm")[1]
    found = subjects.wilcoxon_holm(reference, others)
    np.testing.assert_allclose([test.p for test in found.values()], expected)
    assert subjects.wilcoxon_holm(reference[:5], {"a": others["a"][:5]}) == {"a": subjects.UNTESTED}
