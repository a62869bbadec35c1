"""Central privacy: no site moves the sum by more than the norm, and the noise is as much as claimed, and secret."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.supercore.differential_privacy import compute_adaptive_noise_params
from hypothesis import given
from hypothesis import strategies as st
from oracles.flower import WEIGHT, reply
from scipy import stats
from stepping import FEDERATION, copied, flat, rounds, step_of, update, vector

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.phase import Phase
from normfed_common.privacy import accounting
from normfed_common.study.privacy import CentralConfig
from normfed_server.steps.base import Step, Update
from normfed_server.steps.central import CLIP_NORM, Central, CentralNoise, central_noise, check, releases
from normfed_server.steps.progress import Progress

SECRET = b"of the run"
QUIET = CentralNoise(0.0, adaptive=False)


def central(
    norm: float, noise: CentralNoise = QUIET, inner: Step | None = None, secret: bytes = SECRET, purpose: str = "x"
) -> Central:
    return Central(inner or step_of("fedavg"), norm, noise, secret, purpose)


def one_round(step: Step, progress: Progress, found: list[Update], sites: int | None = None) -> Arrays:
    step.begin(progress, {f"s{i}": 1 for i in range(sites or len(found))})
    for one in copied(found):
        step.add(one)
    step.end(progress)
    progress.round += 1
    return progress.models[0]


@given(rounds())
def test_without_noise_and_norm_it_is_the_plain_mean_of_sites_bit_for_bit(drawn: Any) -> None:
    model, (found,) = drawn
    alike = [replace(one, people=1) for one in found]
    plain = one_round(step_of("fedavg"), Progress([dict(model)]), alike)
    ours = one_round(central(math.inf), Progress([dict(model)]), found)
    for name, array in plain.items():
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize("strategy", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_around_any_linear_step_it_is_that_step_bit_for_bit(strategy: str) -> None:
    entry = {"name": strategy, "server_learning_rate": 0.1}
    plain, ours = (Progress([vector(1.0, 2.0)]) for _ in range(2))
    for r in range(3):
        found = [update("a", 1.0 + r, 2.0), update("b", 3.0, -1.0 * r)]
        expected = one_round(step_of(entry), plain, found)
        np.testing.assert_array_equal(
            one_round(central(math.inf, inner=step_of(entry)), ours, found)["w"], expected["w"]
        )
    assert {n: a.tolist() for n, a in ours.memory.items()} == {n: a.tolist() for n, a in plain.memory.items()}


@given(rounds(least=2), st.floats(1e-3, 1e3), st.integers(0, 11))
def test_no_site_moves_the_sum_by_more_than_the_norm(drawn: Any, norm: float, which: int) -> None:
    """Against the same round in which that site changed nothing."""
    model, (found,) = drawn
    which %= len(found)
    with_it = one_round(central(norm), Progress([dict(model)]), found)
    others = [*found[:which], *found[which + 1 :]]
    without = one_round(central(norm), Progress([dict(model)]), others, sites=len(found))
    largest = max(float(np.abs(flat(one.arrays)).max()) for one in found) + float(np.abs(flat(model)).max())
    rounding = 1e-5 * largest * math.sqrt(flat(model).size)  # of float32 weights
    assert len(found) * (named.norm(with_it, without) - rounding) <= norm * (1 + 1e-5)


def test_people_count_for_nothing() -> None:
    found = [update("a", 1.0, people=1000), update("b", 0.0, people=1)]
    assert one_round(central(math.inf), Progress([vector(0.0)]), found)["w"] == [0.5]
    assert central(1.0).weight(found[0]) == central(1.0).weight(found[1])


def test_a_site_that_is_away_is_one_that_changes_nothing() -> None:
    start = Progress([vector(1.0, 1.0)])
    away = one_round(central(5.0), start, [update("a", 2.0, 1.0), update("b", 4.0, 1.0)], sites=4)
    np.testing.assert_allclose(away["w"], [1 + (1 + 3) / 4, 1.0], rtol=1e-6)


def test_sampled_sites_are_divided_by_as_many_as_are_drawn() -> None:
    half = step_of("fedavg", FEDERATION.model_copy(update={"sample": 0.5}))
    found = [update("a", 2.0), update("b", 4.0)]
    assert one_round(central(math.inf, inner=half), Progress([vector(0.0)]), found, sites=4)["w"] == [3.0]


def test_clipping_and_noise_are_flowers() -> None:
    rng = np.random.default_rng(0)
    before = {"w": rng.standard_normal((3, 2)).astype(np.float32), "b": rng.standard_normal(4).astype(np.float32)}
    found = [
        Update(
            f"s{i}", 1, {n: a + (i + 0.2) * rng.standard_normal(a.shape).astype(np.float32) for n, a in before.items()}
        )
        for i in range(4)
    ]
    flower = DifferentialPrivacyServerSideFixedClipping(FedAvg(weighted_by_key=WEIGHT), 0.0, 1.3, 4)
    flower.current_arrays = ArrayRecord.from_numpy_ndarrays([before["w"], before["b"]])
    expected, _ = flower.aggregate_train(1, [reply(one.arrays, **{WEIGHT: 1.0}) for one in found])
    assert expected is not None
    lengths = [named.norm(one.arrays, before) for one in found]
    assert min(lengths) < 1.3 < max(lengths)
    ours = one_round(central(1.3), Progress([dict(before)]), found)
    for name, array in ours.items():
        np.testing.assert_allclose(array, expected[name].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_noise_is_gaussian_and_as_much_as_was_claimed(adaptive: bool) -> None:
    noise = CentralNoise(2.0, adaptive)
    zero = {"w": np.zeros(20_000, np.float32)}
    found = [Update(site, 1, {"w": np.zeros(20_000, np.float32)}) for site in "abcd"]
    drawn = one_round(central(0.5, noise), Progress([zero]), found)["w"]
    scale = noise.of_sum(4) * 0.5 / 4
    assert stats.kstest(drawn / scale, "norm").pvalue > 1e-3
    assert stats.kstest(drawn / (1.05 * scale), "norm").pvalue < 1e-3


def noised(found: list[Update], **changes: Any) -> np.ndarray:
    progress = Progress([vector(*[0.0] * 50)])
    progress.round = changes.pop("round", 3)
    return one_round(central(1.0, CentralNoise(1.0, False), **changes), progress, found)["w"]


def test_a_round_again_has_the_same_noise_and_anything_else_has_other_noise() -> None:
    found = [update("a", *[0.01] * 50), update("b", *[0.02] * 50)]
    first = noised(found)
    np.testing.assert_array_equal(noised(found), first)
    others = [
        noised(found, secret=b"of another run"),
        noised(found, purpose="another model"),
        noised(found, round=4),
        noised([found[0], update("b", *[0.0201] * 50)]),
        noised(found[:1]),
    ]
    for other in others:
        assert np.abs(other - first).max() > 0.5  # not the small difference of the updates


def test_no_secret_no_noise_that_only_the_run_can_draw() -> None:
    with pytest.raises(ValueError, match="needs the run's secret"):
        central(1.0, secret=b"")


def test_what_was_not_trained_in_a_round_has_no_noise_nor_a_memory_of_any() -> None:
    start = {"w": np.zeros(3, np.float32), "kept": np.ones(3, np.float32)}
    progress = Progress([start])
    step = central(1.0, CentralNoise(1.0, False), step_of({"name": "fedavgm", "momentum": 0.9}))
    step.begin(progress, {"a": 1})
    step.add(Update("a", 1, {"w": np.full(3, 0.1, np.float32), "kept": start["kept"]}))
    step.end(progress)
    assert progress.models[0]["kept"].tolist() == [1, 1, 1]
    assert progress.memory["kept"].tolist() == [0, 0, 0]
    assert progress.memory["w"].all()


@given(st.floats(0.1, 20), st.integers(1, 1000))
def test_the_noise_of_sum_and_count_together_is_what_was_accounted(z: float, sites: int) -> None:
    noise = CentralNoise(z, adaptive=True)
    spread, multiplier = compute_adaptive_noise_params(z, sites, noise.of_count(sites))
    assert spread == noise.of_count(sites)
    assert noise.of_sum(sites) == pytest.approx(multiplier)
    both = noise.of_sum(sites) ** -2 + (2 * noise.of_count(sites)) ** -2
    assert both == pytest.approx(z**-2)


@pytest.mark.parametrize("first", [0.05, 20.0])
def test_the_norm_goes_to_the_median_of_the_lengths(first: float) -> None:
    lengths = np.random.default_rng(0).lognormal(0.3, 0.7, 41)
    progress = Progress([vector(0.0)])
    for _ in range(120):
        now = float(progress.models[0]["w"][0])
        found = [update(f"s{i}", now + float(length)) for i, length in enumerate(lengths)]
        one_round(central(first, CentralNoise(0.0, adaptive=True)), progress, found)
    assert float(progress.memory[CLIP_NORM]) == pytest.approx(float(np.median(lengths)), rel=0.05)


@pytest.mark.parametrize("adaptive", [False, True])
def test_all_rounds_together_are_within_the_studys_epsilon_and_hardly_below(adaptive: bool) -> None:
    config = CentralConfig(epsilon=3.0, adaptive=adaptive)
    noise = central_noise(config, 20)
    spent = accounting.epsilon(releases(noise, 20), config.delta)
    assert 2.9 < spent <= 3.0
    assert central_noise(config, 40).multiplier > noise.multiplier


@pytest.mark.parametrize("strategy", ["median", "krum", "qfedavg", "fednova", "scaffold", "ifca", "cfl"])
def test_a_strategy_that_must_see_single_updates_is_refused(strategy: str) -> None:
    with pytest.raises(StudyError, match=f"the strategy {strategy} needs every site's own update"):
        check(strategy, step_of(strategy), "autoencoder", [Phase("training", "averaged")])


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedbn", "ditto"])
def test_one_that_averages_is_not(strategy: str) -> None:
    check(strategy, step_of(strategy), "autoencoder", [Phase("training", "averaged")])


@pytest.mark.parametrize(
    ("phases", "why"), [([Phase("moments", "summed"), Phase("training", "averaged")], "moments"), ([], "no network")]
)
def test_a_model_with_sums_or_without_a_network_is_refused(phases: list[Phase], why: str) -> None:
    with pytest.raises(StudyError, match=rf"the model atlas .*{why}.*updates of networks only"):
        check("fedavg", step_of("fedavg"), "atlas", phases)
