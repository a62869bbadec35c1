"""What speaks for membership: of models that know everybody by heart, and of models that saw nobody."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_simulation.audit.evidence import least_squares
from normfed_simulation.audit.games import auc

MEMBERS, OTHERS, ENTRIES = 12, 8, 500


def people(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sums of people who are alike, and who is a member."""
    rng = np.random.default_rng(seed)
    common = 3 * rng.standard_normal(ENTRIES)
    return common + rng.standard_normal((MEMBERS + OTHERS, ENTRIES)), np.arange(MEMBERS + OTHERS) < MEMBERS


def test_sums_without_noise_say_exactly_who_is_in_them() -> None:
    sums, members = people()
    np.testing.assert_allclose(least_squares(sums, sums[members].sum(0)), members, atol=0.02)


@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_sums_of_others_say_nothing_of_these(noise: float) -> None:
    found = []
    for seed in range(40):
        sums, members = people(seed)
        others, _ = people(1000 + seed)
        drawn = noise * np.random.default_rng(5000 + seed).standard_normal(ENTRIES)
        found.append(auc(least_squares(sums, others.sum(0) + drawn), members))
    assert np.mean(found) == pytest.approx(0.5, abs=4 * 0.14 / np.sqrt(40))  # .14: of an area that is chance, 12 and 8


def test_noise_takes_it_away() -> None:
    def area(noise: float) -> float:
        found = []
        for seed in range(20):
            sums, members = people(seed)
            drawn = noise * np.random.default_rng(5000 + seed).standard_normal(ENTRIES)
            found.append(auc(least_squares(sums, sums[members].sum(0) + drawn), members))
        return float(np.mean(found))

    assert area(0.1) == 1.0
    assert 0.6 < area(20.0) < 0.95
    assert area(1e4) == pytest.approx(0.5, abs=0.15)


def test_the_weights_of_sites_do_not_hide_it() -> None:
    sums, members = people()
    weights = np.where(np.arange(MEMBERS + OTHERS) % 2, 0.5, 2.0)
    assert auc(least_squares(sums, (weights * members) @ sums), members) == 1.0
