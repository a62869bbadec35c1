"""The likelihood-ratio attack on planted signals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from normfed_simulation.audit.games import Game
from normfed_simulation.audit.lira import ONLINE, least_epsilon, likelihood_ratio

PEOPLE = 60


def planted(federations: int, signal: float, hardness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What federations say of people, each of whom is harder or easier than others, and ``signal`` more if in."""
    rng = np.random.default_rng(seed)
    inside = rng.random((federations, PEOPLE)) < 0.5
    own = hardness * rng.standard_normal(PEOPLE)
    return own + signal * inside + rng.standard_normal((federations, PEOPLE)), inside


def in_turn(scores: np.ndarray, inside: np.ndarray) -> np.ndarray:
    rest = [np.arange(len(scores)) != n for n in range(len(scores))]
    return np.stack([likelihood_ratio(scores[n], scores[r], inside[r]) for n, r in enumerate(rest)])


@pytest.mark.parametrize("federations", [ONLINE - 2, 16])
def test_where_people_differ_it_beats_one_threshold_for_all(federations: int) -> None:
    scores, inside = planted(federations, signal=2.0, hardness=5.0)
    groups = np.full(PEOPLE, "a")
    ratio = Game(in_turn(scores, inside), inside, groups).auc()
    threshold = Game(scores, inside, groups).auc()
    assert ratio > threshold + 0.15
    assert ratio < norm.cdf(2 / np.sqrt(2)) + 0.03  # of whoever knew everybody's means


def test_it_tells_nothing_where_there_is_nothing() -> None:
    scores, inside = planted(16, signal=0.0, hardness=5.0)
    assert Game(in_turn(scores, inside), inside, np.full(PEOPLE, "a")).auc() == pytest.approx(0.5, abs=0.06)


def test_with_known_means_it_is_the_ratio_of_two_gaussians() -> None:
    """Exactly two with and two without, half a unit about 3 and 0: log N(x; 3) - log N(x; 0) = 3 (x - 1.5) / s^2."""
    shadows = np.array([[2.5], [3.5]] * 4 + [[-0.5], [0.5]] * 4)
    inside = np.array([[True]] * 8 + [[False]] * 8)
    told = np.array([2.0])
    variance = 16 * 0.25 / 14  # of both groups together, less their two means
    assert likelihood_ratio(told, shadows, inside) == pytest.approx(3 * (told - 1.5) / variance)


def test_its_bound_on_epsilon_needs_a_signal() -> None:
    delta, groups = 1e-5, np.full(PEOPLE, "a")
    assert least_epsilon(*planted(16, 0.0, 5.0), groups, delta) == 0.0
    assert least_epsilon(*planted(16, 8.0, 5.0), groups, delta) > 3.0
