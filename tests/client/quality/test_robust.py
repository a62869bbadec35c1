"""Medians that a few wrong people cannot bend, against NumPy; how often clean cohorts are named."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_client.quality.checks import at_one_age
from normfed_client.quality.robust import limit, medians, robust_z


def test_medians_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).random((7, 40)).astype(np.float32)
    values[values < 0.2] = np.nan
    np.testing.assert_allclose(medians(values), np.nanmedian(values, 0), rtol=1e-6)


@pytest.mark.parametrize("people", [10, 30])
def test_the_limit_is_passed_in_as_many_clean_cohorts_as_it_says(people: int) -> None:
    rng = np.random.default_rng(1)
    cut = limit(people, 0.1)
    alarms = np.mean([(robust_z(rng.normal(3, 2, people)) > cut).any() for _ in range(2000)])
    assert abs(alarms - 0.1) < 0.03


def test_two_of_ten_who_are_unlike_the_others_do_not_hide_each_other() -> None:
    values = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 3.0, 3.1])
    assert (robust_z(values) > limit(10, 0.1)).tolist() == [False] * 8 + [True] * 2
    assert ((values - values.mean()) / values.std()).max() < limit(10, 0.1)  # what is not robust names nobody


def test_what_goes_with_age_is_taken_away_and_what_does_not_stays() -> None:
    ages = [20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, None]
    values = np.array([0.02 * (age or 42.5) for age in ages])
    values[3] += 1
    found = at_one_age(values, ages)
    np.testing.assert_allclose(np.delete(found, 3), 0.85, atol=0.05)
    assert found[3] > 1.7
    np.testing.assert_array_equal(at_one_age(values[:9], ages[:9]), values[:9])  # of so few no slope is taken
