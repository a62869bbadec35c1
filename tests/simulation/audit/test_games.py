"""Figures of the membership game against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from normfed_simulation.audit.games import Game, auc, clopper_pearson, curve, rate_at

SCORES = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({member for _, member in pairs}) == 2
)


def one_site(scores: np.ndarray, members: np.ndarray) -> Game:
    return Game(np.atleast_2d(scores), np.atleast_2d(members), np.full(np.shape(scores)[-1], "a"))


@given(SCORES)
def test_area_and_curve_equal_scikit_learns_ties_included(pairs: list[tuple[int, bool]]) -> None:
    scores, members = (np.array(column) for column in zip(*pairs, strict=True))
    scores = scores.astype(float)
    assert auc(scores, members) == pytest.approx(roc_auc_score(members, scores))
    expected_false, expected_true, _ = roc_curve(members, scores, drop_intermediate=False)
    false, true = curve(scores, members)
    np.testing.assert_allclose(false, expected_false)
    np.testing.assert_allclose(true, expected_true)
    for level in (0.01, 0.1, 0.5):
        assert rate_at(scores, members, level) == pytest.approx(expected_true[expected_false <= level].max())


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.9, 0.95, 0.99]))
def test_clopper_pearson_equals_scipys(successes: int, failures: int, level: float) -> None:
    if successes + failures == 0:
        assert clopper_pearson(0, 0) == (0.0, 1.0)
        return
    expected = binomtest(successes, successes + failures).proportion_ci(level, "exact")
    assert clopper_pearson(successes, successes + failures, level) == pytest.approx((expected.low, expected.high))


def test_a_scanner_that_stands_out_is_no_membership() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b"], 500)
    members = rng.random(1000) < np.where(groups == "a", 0.8, 0.2)  # most of those who trained are of site a
    scores = 100.0 * (groups == "a") + rng.standard_normal(1000)
    assert roc_auc_score(members, scores) > 0.75
    assert Game(scores[None], members[None], groups).auc() == pytest.approx(0.5, abs=0.05)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Normal scores one apart: the area is Phi(1 / sqrt 2) = .760."""
    rng, covered = np.random.default_rng(1), 0
    members = np.arange(60) < 30
    for _ in range(60):
        low, high = one_site(rng.standard_normal(60) + members, members).interval()
        covered += low <= 0.7602 <= high
    assert covered >= 50  # 57 expected; fewer than 50 of 60 has a chance of .0002


def test_people_who_come_again_and_again_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    scores, members = rng.standard_normal(40), rng.random(40) < 0.5
    low, high = one_site(scores, members).interval()
    again = Game(np.tile(scores, (50, 1)), np.tile(members, (50, 1)), np.full(40, "a"))
    repeated_low, repeated_high = again.interval()
    assert repeated_high - repeated_low > 0.7 * (high - low)


def test_a_perfect_separation_of_few_people_is_no_certainty() -> None:
    low, high = one_site(np.array([0.0, 1, 2, 3]), np.array([False, False, True, True])).interval()
    assert (low, high) == pytest.approx((0.025**0.5, 1.0))


def test_a_rate_that_too_few_people_can_show_is_not_told() -> None:
    game = one_site(np.arange(20.0), np.arange(20) >= 10)
    assert game.rate_at(0.01) is None
    assert game.rate_at(0.1) == 1.0


def test_of_one_side_alone_there_is_no_area() -> None:
    assert np.isnan(one_site(np.arange(3.0), np.ones(3, bool)).auc())


def test_whoever_was_not_asked_about_does_not_count() -> None:
    game = one_site(np.array([0.0, np.nan, 1.0, np.nan]), np.array([False, False, True, True]))
    assert (game.auc(), game.counts()) == (1.0, (1, 1))
