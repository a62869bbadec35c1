"""What a site's updates tell of the site."""

from __future__ import annotations

import numpy as np

from normfed_simulation.audit.attributes import by_round, guessed
from normfed_simulation.audit.federations import Heard

SITES = {f"site-{n}": "3 T" if n % 2 else "1.5 T" for n in range(12)}


def heard(signal: float, seed: int, rounds: int = 3) -> list[Heard]:
    """Updates of every site, with a part that its scanner's field strength makes."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(4000)
    found = []
    for number in range(rounds):
        for site, kind in SITES.items():
            update = rng.standard_normal(4000) + signal * (1 if kind == "3 T" else -1) * direction
            found.append(Heard(site, number, {"network.w": update.reshape(40, 100)}))
    return found


def right(signal: float, seed: int) -> int:
    vectors = by_round(heard(signal, seed), seed=0)
    return sum(guessed(vectors, SITES, site) == kind for site, kind in SITES.items())


def test_a_scanner_that_leaves_a_trace_is_told() -> None:
    assert right(signal=1.0, seed=0) == len(SITES)


def test_where_there_is_no_trace_guesses_are_no_better_than_chance() -> None:
    """Left out, a site's class has fewer others to average, so guesses may fall below chance, and never rise above."""
    assert np.mean([right(signal=0.0, seed=seed) for seed in range(20)]) < 0.6 * len(SITES)


def test_a_site_is_never_guessed_from_itself() -> None:
    vectors = {
        "a": np.array([1.0, 0.0]),
        "b": np.array([0.9, 0.1]),
        "c": np.array([0.8, 0.0]),
        "d": np.array([0.0, 1.0]),
    }
    assert guessed([vectors], {"a": "x", "b": "y", "c": "y", "d": "x"}, "a") == "y"
