"""What secure aggregation cannot serve is refused in words when the study is read."""

from __future__ import annotations

from typing import Any

import pytest

from normfed_common.algorithms.secure import check_secure_sums
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import resolve
from normfed_server.steps.catalogue import check_steps

STUDY: dict[str, Any] = {
    "name": "asked",
    "data": {"modalities": ["T1w"]},
    "model": {"name": "siamese"},
    "privacy": {"secure_aggregation": True},
    "comparisons": {"baselines": []},
}
NOT_LINEAR = ["krum", "multi-krum", "median", "trimmed-mean", "norm-clipping", "qfedavg", "fednova", "scaffold"]
LINEAR = ["fedavg", "fedprox", "fedbn", "ditto", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "fine-tuning"]


COMBAT = {"name": "combat"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": {"name": "ifca", "clusters": 2}}, "several models"),
        ({"strategy": {"name": "cfl"}}, "several models"),
        ({"privacy": {"secure_aggregation": True, "central": True}}, "clips every site's update"),
        ({"federation": {"compression": "int8"}}, "cannot be compressed"),
        ({"comparisons": {"compressions": ["fp16"]}}, "cannot be compressed"),
        ({"federation": {"largest_share": 0.4}}, "largest_share is 0.4"),
        ({"comparisons": {"leave_one_site_out": True}}, "is that site's own update"),
        ({"comparisons": {"strategies": ["fedprox"]}}, "begin with the same model"),
        ({"model": {"name": "atlas"}, "comparisons": {"baselines": ["atlas"]}}, "the study's own model"),
        ({"transforms": [COMBAT | {"reference": "a"}]}, "`reference` names .a. are one site's alone"),
        (
            {"transforms": [COMBAT], "comparisons": {"baselines": ["atlas"]}},
            "every model learns the transforms anew",
        ),
    ],
)
def test_it_says_what_secure_sums_cannot_serve(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=f"privacy.secure_aggregation: .*{words}"):
        check_secure_sums(resolve(STUDY | changes, "test"))
    check_secure_sums(resolve(STUDY | changes | {"privacy": {}}, "test"))


def test_combat_without_a_reference_is_served() -> None:
    check_secure_sums(resolve(STUDY | {"transforms": [COMBAT]}, "test"))


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_strategies_that_must_see_single_updates_are_refused(name: str) -> None:
    study = resolve(STUDY | {"strategy": {"name": name}}, "test")
    with pytest.raises(StudyError, match=f"strategy {name} must see every site's update"):
        check_steps(study)


@pytest.mark.parametrize("name", LINEAR)
def test_strategies_that_need_the_mean_only_are_served(name: str) -> None:
    study = resolve(STUDY | {"strategy": {"name": name}}, "test")
    check_secure_sums(study)
    check_steps(study)


def test_a_sum_of_as_few_as_collude_is_refused() -> None:
    config = {"secure_aggregation": {"minimum_sites": 4, "colluding_sites": 3}}
    with pytest.raises(StudyError, match=r"at least colluding_sites \+ 2 must be in it"):
        resolve(STUDY | {"privacy": config}, "test")


DISTRIBUTED: dict[str, Any] = {"privacy": {"epsilon": 4, "secure_aggregation": {"noise": "distributed"}}}
ONE_STEP: dict[str, Any] = DISTRIBUTED["privacy"] | {"steps_per_round": 1}
STEP: dict[str, Any] = {"privacy": ONE_STEP, "federation": {"optimiser": "sgd"}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "the model siamese trains a network \\(training\\), and in a round of 4 steps every step after the first"),
        ({"model": {"name": "atlas"}, "comparisons": {"baselines": ["autoencoder"]}}, "the model autoencoder trains"),
        ({"model": {"name": "atlas"}, "federation": {"sums": "by-site"}}, "a person of a small site moves the sum"),
        (STEP | {"federation": {"optimiser": "adam"}}, "the optimiser adam divides a site's gradient"),
        (STEP | {"strategy": {"name": "fedprox"}}, "under the strategy fedprox a site's update is not its gradient"),
        (STEP | {"strategy": {"name": "fedbn"}}, "under the strategy fedbn"),
        (STEP | {"privacy": ONE_STEP | {"unit": "sample"}}, "unit is sample, which protects no person"),
    ],
    ids=["rounds", "a baseline's rounds", "by site", "adam", "fedprox", "fedbn", "sample"],
)
def test_it_says_what_distributed_noise_cannot_hide(changes: dict[str, Any], words: str) -> None:
    asked = STUDY | DISTRIBUTED | changes
    with pytest.raises(StudyError, match=f"privacy.secure_aggregation.noise: distributed: .*{words}"):
        check_secure_sums(resolve(asked, "test"))
    privacy = asked["privacy"] | {"secure_aggregation": True}
    check_secure_sums(resolve(asked | {"privacy": privacy}, "test"))


@pytest.mark.parametrize("strategy", ["fedavg", "fedavgm", "fedadam"])
def test_rounds_of_one_step_of_gradient_descent_may_have_distributed_noise(strategy: str) -> None:
    check_secure_sums(resolve(STUDY | STEP | {"strategy": {"name": strategy}}, "test"))


@pytest.mark.parametrize("name", ["atlas", "matched-filter", "mixture", "location"])
def test_every_model_of_bounded_sums_may_have_distributed_noise(name: str) -> None:
    check_secure_sums(resolve(STUDY | DISTRIBUTED | {"model": {"name": name}}, "test"))
