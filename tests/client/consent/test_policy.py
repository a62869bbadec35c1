"""Which studies a hospital's own rules let in without a person, and which it never lets in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normfed_client.consent.policy import (
    digest_of_rules,
    misfits,
    never_allowed,
    parts_of,
    study_of_request,
)
from normfed_client.hospital.folder import HospitalConfig
from normfed_client.hospital.policy import ApprovalRule, Policy
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig

STUDY: dict[str, Any] = {
    "name": "asked",
    "data": {"modalities": ["T1w"]},
    "transforms": ["nyul"],
    "model": {"name": "ensemble", "members": ["atlas", "mixture"]},
    "strategy": "fedprox",
    "federation": {"rounds": 20},
    "privacy": {"epsilon": 4.0, "secure_aggregation": True},
    "comparisons": {"baselines": ["intensity"], "strategies": ["fedadam"], "repeats": 3},
}
FITTING: dict[str, Any] = {
    "models": ["ensemble", "atlas", "mixture", "intensity"],
    "strategies": ["fedavg", "fedprox", "fedadam"],
    "transforms": ["nyul"],
    "largest_epsilon": 4.0,
    "secure_aggregation": True,
    "most_rounds": 20,
    "most_comparisons": 3,
    "most_repeats": 3,
    "metrics": [],
}


def study(**changes: Any) -> StudyConfig:
    return resolve(json.loads(json.dumps({**STUDY, **changes})), "test")


def rule(**values: Any) -> ApprovalRule:
    return ApprovalRule.model_validate_json(json.dumps(values))


def test_every_model_strategy_and_transform_of_a_study_counts_wherever_it_stands() -> None:
    parts = parts_of(study())
    assert parts.models == {"ensemble", "atlas", "mixture", "intensity"}
    assert parts.strategies == {"fedprox", "fedadam", "fedavg"}
    assert parts.transforms == {"nyul"}


def test_a_study_that_fits_in_all_that_a_rule_names_is_let_in_and_the_empty_rule_fits_any() -> None:
    assert misfits(rule(**FITTING), study()) == misfits(rule(), study()) == ()


@pytest.mark.parametrize("key", ["models", "strategies", "transforms"])
@given(data=st.data())
@settings(max_examples=20)
def test_a_study_with_any_one_thing_that_a_rule_does_not_name_is_not_let_in(key: str, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(FITTING[key]))
    narrower = {**FITTING, key: [name for name in FITTING[key] if name != gone]}
    assert misfits(rule(**narrower), study()) == (f"{key}: {gone} not listed",)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"privacy": {"epsilon": 4.01, "secure_aggregation": True}}, "largest_epsilon"),
        ({"privacy": {"epsilon": 1.0, "delta": 1e-3, "secure_aggregation": True}}, "largest_delta"),
        ({"privacy": {"epsilon": 1.0, "unit": "sample", "secure_aggregation": True}}, "largest_epsilon"),
        ({"privacy": {"secure_aggregation": True}}, "largest_epsilon"),
        ({"privacy": {"epsilon": 4.0}}, "secure_aggregation"),
        ({"federation": {"rounds": 21}}, "most_rounds"),
        ({"comparisons": {**STUDY["comparisons"], "repeats": 4}}, "most_repeats"),
        ({"comparisons": {**STUDY["comparisons"], "leave_one_site_out": True}}, "most_comparisons"),
        ({"comparisons": {**STUDY["comparisons"], "compressions": ["fp16"]}}, "most_comparisons"),
    ],
)
def test_a_study_that_protects_less_or_takes_longer_is_not_let_in(changes: dict[str, Any], key: str) -> None:
    (why,) = misfits(rule(**FITTING), study(**changes))
    assert why.startswith(f"{key}: ")


def test_a_plug_in_metric_that_a_rule_does_not_name_is_not_let_in() -> None:
    asked = study().model_copy(update={"evaluation": study().evaluation.model_copy(update={"metrics": ("theirs",)})})
    assert misfits(rule(metrics=[]), asked) == ("metrics: theirs not listed",)
    assert misfits(rule(metrics=["theirs"]), asked) == misfits(rule(), asked) == ()


def test_two_rules_that_each_lack_something_do_not_add_up() -> None:
    halves = (rule(models=FITTING["models"], most_rounds=5), rule(models=["atlas"], most_rounds=20))
    assert all(misfits(half, study()) for half in halves)


def test_a_rule_for_statistics_lets_nothing_out_that_is_learnt() -> None:
    only = rule(statistics_only=True)
    assert misfits(only, study(), statistics=True) == ()
    assert misfits(only, study()) == ("statistics_only: a model is asked for",)


@pytest.mark.parametrize("members", ["zzz", [["zzz"]], [{"no": "name"}], [{"name": ["atlas"]}], [{"name": "zzz"}], {}])
def test_members_of_an_ensemble_that_are_no_names_are_not_listed(members: Any) -> None:
    raw = study().model_dump(mode="json")
    raw["model"] = {"name": "ensemble", "members": members}
    asked = study_of_request(json.dumps(raw))
    assert misfits(rule(models=["ensemble", "atlas", "intensity"]), asked)


def test_what_a_hospital_never_lets_in_is_named() -> None:
    assert never_allowed(Policy(), study()) == ""
    assert never_allowed(Policy(models=("atlas",), transforms=()), study()) == (
        "models: ensemble, intensity, mixture not listed; transforms: nyul not listed"
    )
    assert never_allowed(Policy(strategies=("fedprox", "fedadam")), study()) == "strategies: fedavg not listed"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{" * 10_000, '{"name": NaN}', '{"name": "a", "data": 1}'])
def test_what_is_no_study_is_refused_before_a_plug_in_is_looked_for(text: str) -> None:
    with pytest.raises(SiteError) as caught:
        study_of_request(text)
    assert caught.value.code is SiteCode.STUDY_REFUSED


def config(**changes: Any) -> HospitalConfig:
    return HospitalConfig.model_validate_json(json.dumps({"site": "a", "server": "f:1", "data": ".", **changes}))


@pytest.mark.parametrize(
    "changes",
    [{"minimum_people": 9}, {"metrics": ["dice"]}, {"statistics": False}, {"cube_mm": 7}, {"plugins": {"x": "1"}}],
)
def test_approvals_are_bound_to_the_rules_that_change_what_leaves(changes: dict[str, Any]) -> None:
    assert digest_of_rules(config()) != digest_of_rules(config(**changes))


@pytest.mark.parametrize(
    "changes", [{"exclude": ["sub-1"]}, {"most_rounds": 3}, {"hours": ["18:00-06:00"]}, {"approve_by_rule": [{}]}]
)
def test_and_not_to_limits_hours_or_who_left(changes: dict[str, Any]) -> None:
    assert digest_of_rules(config()) == digest_of_rules(config(**changes))


@pytest.mark.parametrize("wrong", [{"modles": ["atlas"]}, {"models": "atlas"}, {"largest_epsilon": -1}, 3])
def test_a_rule_with_an_unknown_key_or_value_is_no_rule(wrong: object) -> None:
    with pytest.raises(ValueError, match="approve_by_rule"):
        config(approve_by_rule=[wrong])
