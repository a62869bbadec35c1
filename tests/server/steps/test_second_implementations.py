"""Server steps against second implementations: Flower's own strategies, and the papers' formulas written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg, QFedAvg
from hypothesis import given
from hypothesis import strategies as st
from oracles.flower import WEIGHT, aggregate, reply
from stepping import FEDERATION, copied, run

from normfed_client.training.objectives import OBJECTIVES
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.arrays import Arrays
from normfed_common.studies import validate_strategy
from normfed_common.study.federation import FederationConfig
from normfed_server.steps.base import Update
from normfed_server.steps.catalogue import STEPS, make_step
from normfed_server.steps.progress import Progress, load, save


def updates(seed: int, count: int = 4, around: Arrays | None = None) -> list[Update]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        arrays = {
            name: (0 if around is None else around[name])
            + rng.standard_normal(shape).astype(np.float32) * np.float32(0.1)
            for name, shape in (("w", (3, 2)), ("b", (4,)))
        }
        made.append(Update(f"s{i}", int(rng.integers(1, 20)), arrays, float(rng.uniform(0.5, 3)), 3 + i))
    return made


def start() -> Progress:
    rng = np.random.default_rng(99)
    return Progress([{n: rng.standard_normal(s).astype(np.float32) for n, s in (("w", (3, 2)), ("b", (4,)))}])


def assert_close(found: Arrays, expected: Arrays, rtol: float = 1e-5) -> None:
    assert set(found) == set(expected)
    for name in found:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=1e-6)


def test_every_row_names_an_objective_and_a_step_that_there_are_and_none_of_ours_is_unused() -> None:
    rows = [ALGORITHMS[name] for name in ALGORITHMS]
    assert set(STEPS) == {row.server_step for row in rows}
    assert set(OBJECTIVES) == {row.objective for row in rows}


def test_a_row_says_what_its_step_counts_with() -> None:
    for name in ALGORITHMS:
        row = ALGORITHMS[name]
        assert row.needs_received_loss == ("received_loss" in STEPS[row.server_step].claims), name
        assert row.clustered or not (row.offers_every_cluster or row.starts_differ), name


@given(st.integers(0, 1000), st.integers(1, 12))
def test_the_streaming_mean_is_flowers_fedavg(seed: int, count: int) -> None:
    found = updates(seed, count)
    expected = aggregate(FedAvg(weighted_by_key=WEIGHT), [(float(u.people), u.arrays) for u in found])
    assert_close(run("fedavg", start(), found), expected)


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 2.0])
def test_q_fedavg_is_flowers(q: float) -> None:
    progress, found = start(), updates(3)
    flower = QFedAvg(client_learning_rate=FEDERATION.learning_rate, q=q, train_loss_key="loss")
    flower.current_arrays = ArrayRecord({n: Array(a.copy()) for n, a in progress.models[0].items()})
    replies = [reply(u.arrays, **{"loss": u.received_loss or 0.0, "num-examples": 1}) for u in found]
    expected, _ = flower.aggregate_train(1, replies)
    assert expected is not None
    assert_close(run({"name": "qfedavg", "q": q}, progress, found), {n: a.numpy() for n, a in expected.items()}, 1e-4)


def test_q_fedavg_beside_adam_takes_the_update_itself_and_still_trains() -> None:
    adam = FederationConfig(rounds=10, optimiser="adam", learning_rate=1e-3)
    progress, found = start(), updates(3, around=start().models[0])
    before = {n: a.copy() for n, a in progress.models[0].items()}
    step = make_step(validate_strategy({"name": "qfedavg", "q": 1.0}, "test"), adam)
    step.begin(progress, {u.site: u.people for u in found})
    for update in copied(found):
        step.add(update)
    step.end(progress)
    losses = [u.received_loss or 0.0 for u in found]
    square = [sum(float(((before[n] - u.arrays[n]) ** 2).sum()) for n in before) for u in found]
    divisor = sum(s + f for s, f in zip(square, losses, strict=True))
    for name, now in before.items():
        total = sum(f * (now - u.arrays[name]) for f, u in zip(losses, found, strict=True))
        np.testing.assert_allclose(progress.models[0][name], now - total / divisor, rtol=1e-4, atol=1e-6)


def by_hand(kind: str, rounds: int, p: dict[str, float]) -> Arrays:
    """Reddi 2021, algorithm 2, and Hsu 2019, written out in float64."""
    now: dict[str, Any] = {n: a.astype(float) for n, a in start().models[0].items()}
    m: dict[str, Any] = {n: np.zeros_like(a) for n, a in now.items()}
    v: dict[str, Any] = {n: np.zeros_like(a) for n, a in now.items()}
    for round in range(rounds):
        found = updates(round)
        total = sum(u.people for u in found)
        for n in now:
            d = sum(u.people / total * u.arrays[n].astype(float) for u in found) - now[n]
            if kind == "fedavgm":
                m[n] = p["momentum"] * m[n] + d
                now[n] = now[n] + p["server_learning_rate"] * m[n]
                continue
            b1 = 0.0 if kind == "fedadagrad" else p["beta_1"]
            m[n] = b1 * m[n] + (1 - b1) * d
            if kind == "fedadam":
                v[n] = p["beta_2"] * v[n] + (1 - p["beta_2"]) * d**2
            elif kind == "fedyogi":
                v[n] = v[n] - (1 - p["beta_2"]) * d**2 * np.sign(v[n] - d**2)
            else:
                v[n] = v[n] + d**2
            now[n] = now[n] + p["server_learning_rate"] * m[n] / (np.sqrt(v[n]) + p["tau"])
    return now


@pytest.mark.parametrize("kind", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_server_optimisers_are_the_papers_and_survive_a_restart(kind: str, tmp_path: Any) -> None:
    entry = {"name": kind, "server_learning_rate": 0.05}
    progress = start()
    for round in range(4):
        run(entry, progress, updates(round))
        path = tmp_path / "arms" / "x" / "progress.safetensors"
        save(path, progress, "s")
        loaded = load(path, "s")
        assert loaded is not None
        progress = loaded
    parameters = validate_strategy(entry, "test")
    assert_close(progress.models[0], by_hand(kind, 4, parameters), rtol=1e-4)


def test_median_and_trimmed_mean_are_numpys_and_scipys() -> None:
    from scipy.stats import trim_mean

    found = updates(1, 7)
    stacked = {n: np.stack([u.arrays[n] for u in found]) for n in ("w", "b")}
    assert_close(run("median", start(), found), {n: np.median(a, 0) for n, a in stacked.items()})
    trimmed = {n: trim_mean(a, 0.2) for n, a in stacked.items()}
    assert_close(run({"name": "trimmed-mean", "beta": 0.2}, start(), found), trimmed)


def test_krum_is_the_papers_choice_even_where_float32_has_no_digits_left() -> None:
    """Weights near 1000 whose differences are near 0.001: squared norms in float32 say nothing about them."""
    large = {n: np.full_like(a, 1000.0) for n, a in start().models[0].items()}
    found = [
        Update(u.site, 1, {n: (1000 + 0.01 * a).astype(np.float32) for n, a in u.arrays.items()}) for u in updates(5, 6)
    ]
    flat = np.stack([np.concatenate([u.arrays[n].ravel() for n in ("w", "b")]).astype(float) for u in found])
    square = ((flat[:, None] - flat[None]) ** 2).sum(-1)
    scores = [np.sort(row)[1 : 1 + 6 - 1 - 2].sum() for row in square]
    chosen = found[int(np.argmin(scores))]
    assert_close(run("krum", Progress([large]), found), chosen.arrays, rtol=1e-7)
    best = [found[i].arrays for i in np.argsort(scores)[:5]]
    several = run("multi-krum", Progress([{n: a.copy() for n, a in large.items()}]), found)
    assert_close(several, {n: np.mean([a[n] for a in best], 0) for n in ("w", "b")}, rtol=1e-6)


def test_a_clipped_mean_is_bounded_by_its_norm() -> None:
    from normfed_common.foundation import arrays as named

    progress = start()
    before = {n: a.copy() for n, a in progress.models[0].items()}
    found = updates(2, around=before)
    found[0].arrays["w"] += 1e6
    after = run({"name": "norm-clipping", "norm": 0.5}, progress, found)
    assert named.norm(after, before) <= 0.5 + 1e-6
    bounded = run("norm-clipping", Progress([before]), found)
    median = np.median([named.norm(u.arrays, before) for u in found])
    assert named.norm(bounded, before) <= median + 1e-6


def test_scaffolds_control_variate_is_weighted_by_people_and_by_who_took_part() -> None:
    progress, found = start(), updates(4, 3)
    before = {n: a.copy() for n, a in progress.models[0].items()}
    step = make_step(validate_strategy({"name": "scaffold"}, "test"), FEDERATION)
    everybody = {u.site: u.people for u in found}
    step.begin(progress, everybody)
    for update in copied(found[:2]):
        step.add(update)
    step.end(progress)
    for name, start_of in before.items():
        expected = sum(
            u.people / sum(everybody.values()) * (start_of - u.arrays[name]) / (u.steps * FEDERATION.learning_rate)
            for u in found[:2]
        )
        np.testing.assert_allclose(progress.memory[name], expected, rtol=1e-4, atol=1e-5)
