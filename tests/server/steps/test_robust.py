"""Robust steps against Flower's, to the last bit, and against slow versions of the papers' rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, MultiKrum
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles.flower import WEIGHT, aggregate
from stepping import assert_same_bits, flat, rounds, run, step_of, update, vector

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Update
from normfed_server.steps.progress import Progress

ROBUST = ("median", "trimmed-mean", "krum", "multi-krum", "norm-clipping")


def after(entry: str | dict[str, Any], found: list[Update], now: float = 0.0) -> np.ndarray:
    """The next weights, of an array of one weight a coordinate."""
    return run(entry, Progress([vector(*[now] * found[0].arrays["w"].size)]), found)["w"]


def by_flower(strategy: FedAvg, found: list[Update]) -> Arrays:
    return aggregate(strategy, [(1.0, update.arrays) for update in found])


@settings(max_examples=40)
@given(rounds())
def test_the_median_is_flowers_to_the_last_bit(given: tuple[Arrays, list[list[Update]]]) -> None:
    model, (found,) = given
    expected = by_flower(FedMedian(weighted_by_key=WEIGHT), found)
    assert_same_bits(_as_arrays(run("median", Progress([model]), found)), expected)


@settings(max_examples=40)
@given(rounds(), st.floats(0, 0.5, exclude_max=True))
def test_the_trimmed_mean_is_flowers_to_the_last_bit(given: tuple[Arrays, list[list[Update]]], beta: float) -> None:
    model, (found,) = given
    expected = by_flower(FedTrimmedAvg(weighted_by_key=WEIGHT, beta=beta), found)
    found_arrays = run({"name": "trimmed-mean", "beta": beta}, Progress([model]), found)
    assert_same_bits(_as_arrays(found_arrays), expected)


def _as_arrays(model: Arrays) -> Arrays:
    """NumPy makes a scalar of an array of no dimension."""
    return {name: np.asarray(array) for name, array in model.items()}


def scores(model: Arrays, found: list[Update], malicious: int) -> np.ndarray:
    """Blanchard's, pair by pair."""
    moved = [flat(update.arrays) - flat(model) for update in found]
    nearest = len(found) - malicious - 2
    square = [[float(((a - b) ** 2).sum()) for j, b in enumerate(moved) if j != i] for i, a in enumerate(moved)]
    return np.array([sum(sorted(row)[:nearest]) for row in square])


@settings(max_examples=40)
@given(rounds(least=5), st.data())
def test_krum_and_multi_krum_are_flowers_to_the_last_bit_where_no_scores_are_alike(
    given: tuple[Arrays, list[list[Update]]], data: st.DataObject
) -> None:
    model, (found,) = given
    malicious = data.draw(st.integers(0, (len(found) - 3) // 2), "malicious")
    selected = data.draw(st.integers(1, len(found)), "selected")
    ranked = np.sort(scores(model, found, malicious))
    assume((np.diff(ranked) > 1e-9 * ranked[-1]).all())
    flower = MultiKrum(weighted_by_key=WEIGHT, num_malicious_nodes=malicious, num_nodes_to_select=selected)
    moved = [(1.0, {n: np.asarray(u.arrays[n].astype(float) - now) for n, now in model.items()}) for u in found]
    step = aggregate(flower, moved)
    expected = {name: np.asarray((now + step[name]).astype(now.dtype)) for name, now in model.items()}
    entry = {"name": "multi-krum", "malicious": malicious, "selected": selected}
    assert_same_bits(_as_arrays(run(entry, Progress([model]), found)), expected)
    if selected == 1:
        krum = run({"name": "krum", "malicious": malicious}, Progress([model]), found)
        assert_same_bits(_as_arrays(krum), expected)


@settings(max_examples=40)
@given(rounds(least=5), st.data())
def test_krum_takes_an_update_with_the_least_of_the_papers_scores(
    given: tuple[Arrays, list[list[Update]]], data: st.DataObject
) -> None:
    model, (found,) = given
    malicious = data.draw(st.integers(0, (len(found) - 3) // 2), "malicious")
    expected = scores(model, found, malicious)
    chosen = flat(run({"name": "krum", "malicious": malicious}, Progress([model]), found))
    size = max(np.abs(flat(update.arrays)).max() for update in found)
    near = [i for i, u in enumerate(found) if np.allclose(flat(u.arrays), chosen, rtol=1e-6, atol=1e-6 * size)]
    assert min(expected[i] for i in near) <= expected.min() * (1 + 1e-9) + 1e-12 * size**2


@pytest.mark.parametrize(
    ("sites", "beta", "cut"), [(4, 0.2, 0), (5, 0.2, 1), (9, 0.2, 1), (10, 0.2, 2), (3, 0.49, 1), (2, 0.49, 0)]
)
def test_of_a_trimmed_mean_so_many_are_cut_off_at_either_end(sites: int, beta: float, cut: int) -> None:
    """Powers of two: every set of them has another sum."""
    found = [update(f"s{i}", 2.0**i, -(2.0**i)) for i in range(sites)]
    expected = np.mean([2.0**i for i in range(cut, sites - cut)])
    result = after({"name": "trimmed-mean", "beta": beta}, found)
    np.testing.assert_allclose(result, [expected, -expected], rtol=1e-6)


def test_every_coordinate_has_a_median_of_its_own_and_an_even_number_the_mean_of_two() -> None:
    found = [update("a", 1.0, 9.0), update("b", 2.0, 7.0), update("c", 6.0, -4.0), update("d", 100.0, 1.0)]
    np.testing.assert_array_equal(after("median", found), [4.0, 4.0])
    np.testing.assert_array_equal(after("median", found[:3]), [2.0, 7.0])


@pytest.mark.parametrize(("name", "malicious", "minimum"), [("krum", 0, 3), ("krum", 2, 7), ("multi-krum", 1, 5)])
def test_krum_needs_two_sites_for_every_liar_and_three_more(name: str, malicious: int, minimum: int) -> None:
    assert step_of({"name": name, "malicious": malicious}).minimum == minimum


def test_the_liars_that_are_expected_decide_how_many_neighbours_count() -> None:
    """Around 0 there are three, close; around 10 four, looser: with two neighbours the three win, with three the four.

    Scores by hand, least of each group: 2 neighbours 0.1^2 + 0.1^2 and 1^2 + 1^2; 3 neighbours 9^2 and 1 + 1 + 2^2.
    """
    found = [update(f"s{i}", value) for i, value in enumerate((0.0, 0.1, 0.2, 9.0, 10.0, 11.0, 12.0))]
    assert after({"name": "krum", "malicious": 3}, found) == np.float32(0.1)
    assert after({"name": "krum", "malicious": 2}, found) == 10


def test_of_updates_with_the_same_score_krum_takes_the_first() -> None:
    found = [update("a", 5.0), update("b", 1.0), update("c", 2.0)]
    assert after({"name": "krum", "malicious": 0}, found) == 1
    assert after({"name": "krum", "malicious": 0}, [found[0], found[2], found[1]]) == 2


def test_updates_that_are_all_alike_are_kept_by_krum_whatever_the_number() -> None:
    for sites in (3, 5, 40):
        found = [update(f"s{i:02d}", 0.1, 0.7) for i in range(sites)]
        np.testing.assert_array_equal(after({"name": "krum", "malicious": 0}, found), found[0].arrays["w"])


@pytest.mark.parametrize(("selected", "expected"), [(None, 2.5), (1, 2.0), (2, 2.5), (4, 2.5), (5, 22.0), (50, 22.0)])
def test_multi_krum_averages_as_many_as_are_selected_else_all_but_the_liars(
    selected: int | None, expected: float
) -> None:
    """Scores with two neighbours: 5, 2, 2, 5 and one that is far off."""
    found = [update(f"s{i}", value) for i, value in enumerate((1.0, 2.0, 3.0, 4.0, 100.0))]
    assert after({"name": "multi-krum", "malicious": 1, "selected": selected}, found) == expected


def test_a_site_that_claims_many_people_counts_as_one() -> None:
    found = [update("a", 1.0), update("b", 2.0), update("c", 3.0), update("d", 4.5), update("e", 7.0)]
    claimed = [*found[:4], update("e", 7.0, people=1e6)]
    for name in ROBUST:
        assert step_of(name).weight(claimed[4]) == 1
        np.testing.assert_array_equal(after(name, claimed), after(name, found))


def test_an_update_longer_than_the_bound_is_shortened_and_a_shorter_one_is_not() -> None:
    """From (1, 1): differences (3, 4) of length 5, to be 2, and (0, 0.5)."""
    found = [update("a", 4.0, 5.0), update("b", 1.0, 1.5)]
    result = after({"name": "norm-clipping", "norm": 2.0}, found, now=1.0)
    np.testing.assert_allclose(result, [1 + 3 * 0.4 / 2, 1 + (4 * 0.4 + 0.5) / 2], rtol=1e-6)


def test_without_a_bound_it_is_the_median_length() -> None:
    found = [update("a", 1.0), update("b", -3.0), update("c", 100.0)]
    np.testing.assert_allclose(after("norm-clipping", found), [(1 - 3 + 3) / 3], rtol=1e-6)


def test_the_bound_is_of_all_arrays_together() -> None:
    model = {"b": np.zeros(1, np.float32), "w": np.zeros(1, np.float32)}
    found = [Update("a", 1, {"b": np.array([3], np.float32), "w": np.array([4], np.float32)})]
    result = run({"name": "norm-clipping", "norm": 1.0}, Progress([model]), found)
    np.testing.assert_allclose(flat(result), [0.6, 0.8], rtol=1e-6)


def test_sites_that_did_not_move_are_no_division_by_zero() -> None:
    with np.errstate(all="raise"):
        assert after("norm-clipping", [update("a", 1.0), update("b", 1.0)], now=1.0) == 1


@pytest.mark.parametrize("name", ROBUST)
def test_nothing_is_remembered_from_a_round_to_the_next(name: str) -> None:
    progress = Progress([vector(0.0)])
    step = step_of(name)
    for centre in (100.0, 5.0):
        found = [update(f"s{i}", centre + i) for i in range(5)]
        step.begin(progress, {})
        for one in found:
            step.add(one)
        now = Progress([progress.models[0]])
        step.end(progress)
        assert_same_bits(progress.models[0], run(name, now, found))
    assert not progress.memory
