"""The least epsilon that what an attacker achieved allows: a lower bound, with confidence, to hold against a claim."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom

from normfed_simulation.audit.games import clopper_pearson

SIGNIFICANCE = 0.05
LARGEST = 100.0


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """How probable so many correct guesses are at most, were the mechanism (epsilon, delta) private.

    Every canary was in by a fair coin of its own; the attacker guessed of ``guesses`` of them whether they were.

    Source: theorem 5.2 of Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846), computed as in their appendix D.
    """
    q = 1 / (1 + math.exp(-epsilon))
    by_luck = float(binom.sf(correct - 1, guesses, q))
    between = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, q))  # P[v - i <= Binomial < v], i = 1, ...
    worst = float((between / np.arange(1, correct + 1)).max(initial=0.0))
    return min(1.0, by_luck + worst * delta * 2 * canaries)


def one_run_bound(canaries: int, guesses: int, correct: int, delta: float, significance: float = SIGNIFICANCE) -> float:
    """The largest epsilon that is refuted at this significance; 0 where none is."""
    if one_run_p_value(canaries, guesses, correct, 0.0, delta) > significance:
        return 0.0
    low, high = 0.0, 1.0
    while high < LARGEST and one_run_p_value(canaries, guesses, correct, high, delta) <= significance:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        refuted = one_run_p_value(canaries, guesses, correct, middle, delta) <= significance
        low, high = (middle, high) if refuted else (low, middle)
    return low


def repeated_bound(
    true_positives: int, members: int, false_positives: int, others: int, delta: float, level: float = 1 - SIGNIFICANCE
) -> float:
    """Lower bound from independent runs of a mechanism with and without one person, decided by a threshold fixed
    before: log (TPR - delta) / FPR, each rate at its end of an interval of Clopper & Pearson.

    Source: Jagielski 2020 (arXiv 2006.07709), of (epsilon, delta): TPR <= exp(epsilon) FPR + delta.
    """
    true, _ = clopper_pearson(true_positives, members, level)
    _, false = clopper_pearson(false_positives, others, level)
    return max(0.0, math.log((true - delta) / false)) if true > delta else 0.0
