"""Lower bounds on epsilon against closed forms, and against mechanisms whose epsilon is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from normfed_simulation.audit.epsilons import one_run_bound, one_run_p_value, repeated_bound


@pytest.mark.parametrize(("guesses", "correct"), [(100, 100), (100, 75), (40, 31), (1000, 560)])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 3.0])
def test_without_delta_the_p_value_is_that_of_coins_that_land_right_as_often_as_epsilon_allows(
    guesses: int, correct: int, epsilon: float
) -> None:
    expected = binom.sf(correct - 1, guesses, math.exp(epsilon) / (1 + math.exp(epsilon)))
    assert one_run_p_value(1000, guesses, correct, epsilon, 0.0) == pytest.approx(expected, rel=1e-9)


def paper(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """The program of the paper's appendix D, as it stands there."""
    q = 1 / (1 + math.exp(-epsilon))
    beta = binom.sf(v - 1, r, q)
    alpha, total = 0.0, 0.0
    for i in range(1, v + 1):
        total = total + binom.pmf(v - i, r, q)
        if total > i * alpha:
            alpha = total / i
    return min(beta + alpha * delta * 2 * m, 1)


@pytest.mark.parametrize(("m", "r", "v"), [(1000, 1000, 700), (1000, 200, 190), (50, 50, 50), (100, 100, 0)])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-2])
def test_with_delta_the_p_value_is_the_papers(m: int, r: int, v: int, epsilon: float, delta: float) -> None:
    assert one_run_p_value(m, r, v, epsilon, delta) == pytest.approx(paper(m, r, v, epsilon, delta), rel=1e-9)


@pytest.mark.parametrize("guesses", [10, 100, 900])
def test_all_guesses_right_refute_the_epsilon_of_a_closed_form(guesses: int) -> None:
    """(e^eps / (1 + e^eps))^r = .05."""
    chance = 0.05 ** (1 / guesses)
    assert one_run_bound(guesses, guesses, guesses, 0.0) == pytest.approx(math.log(chance / (1 - chance)), abs=1e-6)


def test_guesses_no_better_than_coins_refute_nothing() -> None:
    assert one_run_bound(1000, 1000, 500, 1e-5) == 0.0


def test_randomised_response_is_refuted_about_as_often_as_the_confidence_says() -> None:
    """The worst case of the theorem: every answer is right with chance e^eps / (1 + e^eps), so 5 % are above."""
    rng, epsilon = np.random.default_rng(0), 1.0
    right = rng.binomial(500, math.exp(epsilon) / (1 + math.exp(epsilon)), size=200)
    above = sum(one_run_bound(500, 500, int(v), 0.0) > epsilon for v in right)
    assert above <= 20  # 10 expected at most; more than 20 has a chance of .001


def test_the_bound_of_repeated_runs_is_that_of_the_rates_at_their_worst() -> None:
    low, high = 0.025 ** (1 / 50), 1 - 0.025 ** (1 / 50)
    assert repeated_bound(50, 50, 0, 50, 1e-5) == pytest.approx(math.log((low - 1e-5) / high))
    assert repeated_bound(25, 50, 25, 50, 1e-5) == 0.0


def test_the_bound_of_repeated_runs_stays_below_a_gaussians_epsilon() -> None:
    """N(0, 1) against N(1, 1) is 4.38 at delta 1e-5 (Balle & Wang 2018, theorem 8)."""
    rng = np.random.default_rng(3)
    true, false = (rng.standard_normal(5000) + 1 > 2).sum(), (rng.standard_normal(5000) > 2).sum()
    epsilon = 4.38
    assert norm.cdf(0.5 - epsilon) - math.exp(epsilon) * norm.cdf(-0.5 - epsilon) == pytest.approx(1e-5, rel=0.05)
    assert 0.5 < repeated_bound(int(true), 5000, int(false), 5000, 1e-5) < epsilon
