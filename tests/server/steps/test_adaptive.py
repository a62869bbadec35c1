"""Server optimisers against Flower's, to the last bit, and against closed forms of the papers' recurrences.

The recurrences written out, over rounds with restarts between them, are in `tests/algorithms/test_steps.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAdagrad, FedAvg, FedAvgM, FedYogi
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.flower import WEIGHT, aggregate
from stepping import assert_same_bits, rounds, run, update, vector

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Update
from normfed_server.steps.progress import Progress

ADAPTIVE = ("fedadam", "fedyogi", "fedadagrad")
RATES = st.sampled_from((0.01, 0.3, 1.0))
SHARES = st.sampled_from((0.0, 0.5, 0.9))


def mean_of(found: list[Update]) -> Arrays:
    """By the step under test: its rounding is not the optimiser's."""
    return run("fedavg", Progress([{}]), found)


def compare(entry: dict[str, Any], flower: FedAvg, current: str, given: tuple[Arrays, list[list[Update]]]) -> Progress:
    """Both on the same rounds; ``current`` is whether Flower's holds arrays or a record of them."""
    model, answers = given
    progress = Progress([model])
    for found in answers:
        now = progress.models[0]
        record = ArrayRecord({name: Array(np.asarray(array)) for name, array in now.items()})
        flower.current_arrays = record if current == "record" else now  # type: ignore[attr-defined]
        mean = mean_of(found)
        expected = aggregate(flower, [(1.0, {name: mean[name] for name in now})])
        assert_same_bits(run(entry, progress, found), expected)
    return progress


@settings(max_examples=40)
@given(rounds(count=3), RATES, SHARES)
def test_momentum_is_flowers_to_the_last_bit(
    given: tuple[Arrays, list[list[Update]]], rate: float, momentum: float
) -> None:
    flower = FedAvgM(weighted_by_key=WEIGHT, server_learning_rate=rate, server_momentum=momentum)
    entry = {"name": "fedavgm", "server_learning_rate": rate, "momentum": momentum}
    progress = compare(entry, flower, "record", given)
    kept = [] if flower.momentum_vector is None else flower.momentum_vector
    assert_same_bits(progress.memory, dict(zip(given[0], kept, strict=False)))


@settings(max_examples=40)
@given(rounds(count=3), RATES, SHARES, SHARES)
def test_yogi_is_flowers_to_the_last_bit(
    given: tuple[Arrays, list[list[Update]]], rate: float, beta_1: float, beta_2: float
) -> None:
    flower = FedYogi(weighted_by_key=WEIGHT, eta=rate, beta_1=beta_1, beta_2=beta_2, tau=1e-3)
    entry = {"name": "fedyogi", "server_learning_rate": rate, "beta_1": beta_1, "beta_2": beta_2}
    progress = compare(entry, flower, "arrays", given)
    assert_same_bits(progress.memory, _moments(flower))


@settings(max_examples=40)
@given(rounds(count=3), RATES, st.sampled_from((1e-8, 1e-3)))
def test_adagrad_is_flowers_to_the_last_bit(given: tuple[Arrays, list[list[Update]]], rate: float, tau: float) -> None:
    flower = FedAdagrad(weighted_by_key=WEIGHT, eta=rate, tau=tau)
    progress = compare({"name": "fedadagrad", "server_learning_rate": rate, "tau": tau}, flower, "arrays", given)
    assert_same_bits(progress.memory, _moments(flower))


def _moments(flower: FedYogi | FedAdagrad) -> Arrays:
    assert flower.m_t is not None
    assert flower.v_t is not None
    return {f"m/{n}": a for n, a in flower.m_t.items()} | {f"v/{n}": a for n, a in flower.v_t.items()}


def steps(entry: dict[str, Any], differences: list[float]) -> list[float]:
    """How far one weight moves in every round, if its mean comes back that far from where it is."""
    progress, moved = Progress([vector(0.0)]), []
    for difference in differences:
        now = float(progress.models[0]["w"][0])
        after = run(entry, progress, [update("a", now + difference)])
        moved.append(float(after["w"][0]) - now)
    return moved


def test_momentum_of_a_steady_pull_is_a_geometric_series() -> None:
    entry = {"name": "fedavgm", "momentum": 0.5, "server_learning_rate": 0.25}
    np.testing.assert_allclose(steps(entry, [1.0] * 4), 0.25 * np.array([1, 1.5, 1.75, 1.875]), rtol=1e-5)


def test_without_momentum_a_rate_goes_part_of_the_way_and_nothing_is_remembered() -> None:
    progress = Progress([vector(2.0)])
    entry = {"name": "fedavgm", "momentum": 0.0, "server_learning_rate": 0.25}
    assert run(entry, progress, [update("a", 10.0)])["w"] == 4
    assert not progress.memory


@settings(max_examples=10)
@given(rounds())
def test_with_neither_momentum_nor_a_rate_the_model_is_the_mean_to_the_last_bit(
    given: tuple[Arrays, list[list[Update]]],
) -> None:
    """``now - 1 (now - mean)`` would be off by rounding."""
    model, (found,) = given
    progress = Progress([model])
    after = run({"name": "fedavgm", "momentum": 0.0, "server_learning_rate": 1.0}, progress, found)
    assert_same_bits(after, mean_of(found))
    assert not progress.memory


@pytest.mark.parametrize(("momentum", "rate", "moved"), [(0.0, 2.0, 16.0), (0.5, 1.0, 8.0)])
def test_a_rate_above_one_goes_beyond_the_mean_and_momentum_alone_remembers(
    momentum: float, rate: float, moved: float
) -> None:
    progress = Progress([vector(2.0)])
    after = run({"name": "fedavgm", "momentum": momentum, "server_learning_rate": rate}, progress, [update("a", 10.0)])
    assert after["w"] == 2 + moved
    assert progress.memory == ({"w": np.float32(-8)} if momentum else {})


def test_adams_first_step_is_not_corrected_for_its_bias() -> None:
    entry = {"name": "fedadam", "server_learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.5}
    expected = 0.1 * (0.1 * 2) / (np.sqrt(0.01 * 4) + 0.5)
    np.testing.assert_allclose(steps(entry, [2.0]), [expected], rtol=1e-5)


def test_adams_square_of_a_steady_pull_fills_up_geometrically() -> None:
    entry = {"name": "fedadam", "server_learning_rate": 1.0, "beta_1": 0.0, "beta_2": 0.5, "tau": 1.0}
    expected = [1 / (np.sqrt(1 - 0.5**t) + 1) for t in (1, 2, 3)]
    np.testing.assert_allclose(steps(entry, [1.0] * 3), expected, rtol=1e-5)


def test_adagrads_steps_of_a_steady_pull_shorten_by_the_root_of_the_rounds() -> None:
    entry = {"name": "fedadagrad", "server_learning_rate": 1.0, "tau": 0.5}
    expected = [2 / (2 * np.sqrt(t) + 0.5) for t in (1, 2, 3, 4)]
    np.testing.assert_allclose(steps(entry, [2.0] * 4), expected, rtol=1e-5)


def test_yogi_forgets_a_large_square_by_small_differences_slower_than_adam() -> None:
    """From v, a difference d^2 << v takes (1 - b2) d^2 off Yogi's v, and (1 - b2) v off Adam's."""
    entry = {"server_learning_rate": 1.0, "beta_1": 0.0, "beta_2": 0.5, "tau": 1e-8}
    large, small = 4.0, 1.0
    yogi = (1 - 0.5) * large**2 - 0.5 * small**2
    adam = 0.5 * (1 - 0.5) * large**2 + 0.5 * small**2
    for name, v in (("fedyogi", yogi), ("fedadam", adam)):
        np.testing.assert_allclose(steps({"name": name, **entry}, [large, small])[1], small / np.sqrt(v), rtol=1e-5)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_what_does_not_change_is_not_moved(name: str) -> None:
    assert steps({"name": name}, [0.0, 0.0]) == [0.0, 0.0]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_sites_weigh_by_their_people(name: str) -> None:
    several, one = Progress([vector(0.0)]), Progress([vector(0.0)])
    run(name, several, [update("a", 1.0, people=1), update("b", 5.0, people=3)])
    run(name, one, [update("a", 4.0)])
    assert_same_bits(several.models[0], one.models[0])
