"""The drawing of attacks: where no attack can come, and that what is drawn is what was found."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from normfed_server.report import roc


@given(st.floats(0.2, 5), st.floats(0.001, 0.999))
def test_the_best_attack_on_gaussian_noise_stays_below_what_is_allowed(z: float, false: float) -> None:
    """Its curve in closed form, and its exact (epsilon, delta) (Balle & Wang 2018, arXiv 1805.06530, theorem 8)."""
    best = float(norm.cdf(norm.ppf(false) + 1 / z))
    for epsilon in (0.1, 1.0, 4.0):
        delta = float(norm.cdf(1 / (2 * z) - epsilon * z) - math.exp(epsilon) * norm.cdf(-1 / (2 * z) - epsilon * z))
        assert best <= roc.allowed(false, epsilon, delta) + 1e-9


@given(st.floats(0, 1))
def test_what_is_allowed_at_an_epsilon_of_nothing_is_guessing(false: float) -> None:
    assert roc.allowed(false, 0.0, 0.0) == pytest.approx(false)


def points(svg: str, which: int) -> list[tuple[float, float]]:
    """A polyline's, as false- and true-positive rates."""
    found = re.findall(r'<polyline points="([^"]*)"', svg)[which]
    pairs = [tuple(map(float, pair.split(","))) for pair in found.split()]
    wide, high = roc.WIDTH - roc.LEFT - roc.RIGHT, roc.HEIGHT - roc.TOP - roc.BOTTOM
    return [(roc.LEAST ** (1 - (x - roc.LEFT) / wide), 1 - (y - roc.TOP) / high) for x, y in pairs]


def test_a_curve_is_drawn_as_steps_where_it_was_measured() -> None:
    curve = [(0.0, 0.0), (0.0, 0.2), (0.01, 0.2), (0.1, 0.6), (1.0, 1.0)]
    found = points(str(roc.drawn({"x": curve})), 1)
    corners = [(1e-3, 0.0), (1e-3, 0.2), (0.01, 0.2), (0.1, 0.2), (0.1, 0.6), (1.0, 0.6), (1.0, 1.0)]
    kept = [found[0]] + [now for before, now in pairwise(found) if now != before]
    assert np.array(kept) == pytest.approx(np.array(corners), abs=2e-3)


def test_guessing_is_drawn_along_its_law() -> None:
    for false, true in points(str(roc.drawn({})), 0):
        assert true == pytest.approx(false, rel=0.01, abs=2e-4)


def test_what_no_attack_can_reach_is_drawn_only_where_something_is_claimed() -> None:
    curve = [(0.0, 0.0), (1.0, 1.0)]
    assert "<polygon" not in roc.drawn({"x": curve})
    svg = roc.drawn({"x": curve}, 4.0, 1e-5)
    assert svg.count("<polygon") == 1
    assert "no attack can come here" in svg


def test_an_attacks_title_is_text() -> None:
    assert "<script>" not in roc.drawn({"<script>alert(1)</script>": [(0.0, 0.0), (1.0, 1.0)]})
