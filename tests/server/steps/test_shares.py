"""The bound on one site's share, against a search for the level among fractions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_server.steps import shares

weights = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 1000), min_size=1)


bounds = st.integers(2, 100).map(lambda percent: Fraction(percent, 100))


WEIGHTS = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0.5, 1e5), min_size=1, max_size=8)


def searched(weights: Mapping[str, int], most: Fraction) -> dict[str, Fraction]:
    """The highest level at which the largest weight is no more than its share, by halving; weights cut to it."""
    low, high = Fraction(0), Fraction(max(weights.values()))
    if high <= most * sum(weights.values()):
        return {site: Fraction(weight) for site, weight in weights.items()}
    for _ in range(60):
        level = (low + high) / 2
        fits = level <= most * sum(min(Fraction(weight), level) for weight in weights.values())
        low, high = (level, high) if fits else (low, level)
    return {site: min(Fraction(weight), low) for site, weight in weights.items()}


@given(weights, bounds)
def test_weights_are_cut_to_the_highest_level_that_the_bound_allows(found: dict[str, int], most: Fraction) -> None:
    limited = shares.limited(found, float(most))
    if len(found) * most <= 1:
        assert limited == dict.fromkeys(found, 1.0)
        return
    expected = {site: float(weight) for site, weight in searched(found, most).items()}
    assert limited == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(weights, bounds)
def test_who_has_more_people_never_weighs_less(found: dict[str, int], most: Fraction) -> None:
    limited = shares.limited(found, float(most))
    assert list(limited) == list(found)
    by_people = sorted(found, key=lambda site: found[site])
    for less, more in itertools.pairwise(by_people):
        assert limited[less] <= limited[more]


@given(weights, bounds, st.sampled_from([0.001, 7.0, 1e6]))
def test_the_unit_of_the_weights_changes_no_share(found: dict[str, int], most: Fraction, unit: float) -> None:
    scaled = {site: weight * unit for site, weight in found.items()}
    expected = shares.of(shares.limited(found, float(most)))
    assert shares.of(shares.limited(scaled, float(most))) == pytest.approx(expected, rel=1e-6)


@given(weights, bounds)
def test_cutting_again_cuts_nothing_more(found: dict[str, int], most: Fraction) -> None:
    limited = shares.limited(found, float(most))
    assert shares.limited(limited, float(most)) == pytest.approx(limited, rel=1e-6)


@given(weights, bounds, st.integers(2, 100))
def test_boasting_beyond_the_bound_gains_nothing(found: dict[str, int], most: Fraction, factor: int) -> None:
    """What a site says beyond the level is cut to the same level."""
    before = shares.limited(found, float(most))
    largest = max(found, key=lambda site: found[site])
    if before[largest] < found[largest]:
        after = shares.limited(found | {largest: found[largest] * factor}, float(most))
        assert after == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("sites", range(1, 13))
def test_where_all_are_at_the_bound_all_count_alike(sites: int) -> None:
    """1/n of n sites leaves no freedom, whichever way n * (1/n) is rounded."""
    found = shares.of(shares.limited({str(i): 10.0**i for i in range(sites)}, 1 / sites))
    assert found == pytest.approx(dict.fromkeys(found, 1 / len(found)), rel=1e-6)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 1000), min_size=1))
def test_shares_are_the_weights_over_their_sum(found: dict[str, int]) -> None:
    total = sum(found.values())
    expected = {site: float(Fraction(weight, total)) for site, weight in found.items()} if total else {}
    assert shares.of(found) == pytest.approx(expected)
    assert math.fsum(shares.of(found).values()) == pytest.approx(1 if total else 0)


def test_nobody_has_no_share() -> None:
    assert shares.of({}) == {}
    assert shares.limited({}, 0.5) == {}


@given(WEIGHTS, st.floats(0.05, 1.0))
def test_no_site_has_more_than_its_largest_share_and_the_others_keep_their_proportions(
    found: dict[str, float], most: float
) -> None:
    limited = shares.limited(found, most)
    given_shares = shares.of(limited)
    assert sum(given_shares.values()) == pytest.approx(1)
    assert max(given_shares.values()) <= max(most, 1 / len(found)) * (1 + 1e-6)
    if len(found) * most > 1:
        for site, weight in found.items():
            assert limited[site] <= weight
            if limited[site] < weight * (1 - 1e-6):
                assert given_shares[site] == pytest.approx(most, rel=1e-5)  # only who reaches the bound is cut
    else:
        assert len(set(limited.values())) == 1


def test_shares_by_hand() -> None:
    """t = 0.4 (t + 3 + 2) gives 10/3, of 25/3."""
    assert shares.limited({"a": 100, "b": 3, "c": 2}, 0.4) == pytest.approx({"a": 10 / 3, "b": 3, "c": 2})
    assert shares.limited({"a": 100, "b": 3}, 0.4) == {"a": 1.0, "b": 1.0}
    assert shares.limited({"a": 100, "b": 3}, 1.0) == {"a": 100, "b": 3}


@given(WEIGHTS, st.floats(0.05, 1.0))
def test_what_counts_are_multiplied_by_makes_the_limited_ones_and_nothing_larger(
    found: dict[str, float], most: float
) -> None:
    factors = shares.factors(found, most)
    scaled = {site: weight * factors[site] for site, weight in found.items()}
    assert shares.of(scaled) == pytest.approx(shares.of(shares.limited(found, most)))
    assert max(factors.values()) == 1
