"""A hospital's floors and limits, each from both sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from normfed_client.hospital.rules import Rules
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.studies import resolve
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig

STUDY: dict[str, Any] = {
    "name": "asked",
    "data": {"modalities": ["T1w"]},
    "model": {"name": "siamese", "pairs_per_subject": 60},
    "federation": {"rounds": 5, "local_epochs": 2, "minimum_cohort": 10},
    "comparisons": {"baselines": []},
}
RULES = Rules(most_rounds=5, most_epochs=4, most_samples_per_person=60)


def study(**changes: Any) -> StudyConfig:
    """The study with sections changed."""
    raw = STUDY | {section: {**STUDY.get(section, {}), **values} for section, values in changes.items()}
    return resolve(raw, "test")


def refusal(rules: Rules, asked: StudyConfig) -> SiteError:
    with pytest.raises(SiteError) as caught:
        rules.check(asked)
    return caught.value


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"federation": {"minimum_cohort": 11}},
        {"preprocessing": {"percentiles": [10, 90], "clip": [-20, 20]}},
        {"data": {"exclude": {"north": "another scanner"}}},
        {"data": {"lesion_labels": ["MS"]}},
        {"data": {"normal": "lesion-free-tissue"}},
        {"federation": {"local_epochs": 4}},
        {"privacy": {"epsilon": 4, "sampling_rate": 0.1, "steps_per_round": 40}},
        {"strategy": {"name": "fine-tuning", "epochs": 4}},
        {"comparisons": {"strategies": [{"name": "fedrep", "personal_epochs": 4}]}},
        {"comparisons": {"baselines": [{"name": "siamese", "pairs_per_subject": 60, "patch_size": 9}]}},
    ],
    ids=str,
)
def test_what_reaches_a_floor_or_a_limit_is_allowed(changes: dict[str, Any]) -> None:
    RULES.check(study(**changes))


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        (
            {"federation": {"minimum_cohort": 9}},
            SiteCode.MINIMUM_TOO_LOW,
            "the study's federation.minimum_cohort is 9, minimum_people of site.yaml 10",
        ),
        (
            {"data": {"exclude": {"sub-01": "moved", "north": "far", "sub-02": "ill"}}},
            SiteCode.NAMES_PEOPLE,
            "data.exclude names sub-01, sub-02",
        ),
        (
            {"preprocessing": {"percentiles": [10.5, 99]}},
            SiteCode.RECIPE_REFUSED,
            "percentiles: at most 10 and at least 90 are taken",
        ),
        (
            {"preprocessing": {"percentiles": [1, 89.5]}},
            SiteCode.RECIPE_REFUSED,
            "percentiles: at most 10 and at least 90 are taken",
        ),
        ({"preprocessing": {"clip": [-20.5, 2]}}, SiteCode.RECIPE_REFUSED, "clip: at most 20 either way"),
        ({"preprocessing": {"clip": [0, 20.5]}}, SiteCode.RECIPE_REFUSED, "clip: at most 20 either way"),
        (
            {"preprocessing": {"lesion_margin_mm": 5.0}},
            SiteCode.RECIPE_REFUSED,
            "lesion_margin_mm: must be 6, as in site.yaml",
        ),
        (
            {"preprocessing": {"lesion_margin_mm": 7.0, "clip": [0, 21]}},
            SiteCode.RECIPE_REFUSED,
            "clip: at most 20 either way; lesion_margin_mm: must be 6, as in site.yaml",
        ),
        (
            {"data": {"normal": "lesion-free-tissue", "lesion_labels": ["MS"]}},
            SiteCode.RECIPE_REFUSED,
            "lesion_labels: where patients' tissue is learnt from, every mask counts as a lesion",
        ),
        (
            {"data": {"normal": "lesion-free-slices"}},
            SiteCode.RECIPE_REFUSED,
            "normal: lesion-free-slices is for simulations; hospitals take lesion-free-tissue",
        ),
        (
            {"federation": {"rounds": 6}},
            SiteCode.TOO_MUCH_ASKED,
            "most_rounds: the study asks for 6, site.yaml allows 5",
        ),
        (
            {"federation": {"local_epochs": 5}},
            SiteCode.TOO_MUCH_ASKED,
            "most_epochs: the study asks for 5, site.yaml allows 4",
        ),
        (
            {"strategy": {"name": "fine-tuning", "epochs": 5}},
            SiteCode.TOO_MUCH_ASKED,
            "most_epochs: the study asks for 5, site.yaml allows 4",
        ),
        (
            {"comparisons": {"strategies": [{"name": "fedrep", "personal_epochs": 5}]}},
            SiteCode.TOO_MUCH_ASKED,
            "most_epochs: the study asks for 5, site.yaml allows 4",
        ),
        (
            {"privacy": {"epsilon": 4, "sampling_rate": 0.1, "steps_per_round": 41}},
            SiteCode.TOO_MUCH_ASKED,
            "most_epochs: the study asks for 5, site.yaml allows 4",
        ),
        (
            {"model": {"pairs_per_subject": 61}},
            SiteCode.TOO_MUCH_ASKED,
            "most_samples_per_person: the study asks for 61, site.yaml allows 60",
        ),
        (
            {"comparisons": {"baselines": [{"name": "siamese", "pairs_per_subject": 1200, "patch_size": 9}]}},
            SiteCode.TOO_MUCH_ASKED,
            "most_samples_per_person: the study asks for 1,200, site.yaml allows 60",
        ),
    ],
)
def test_what_goes_beyond_a_floor_or_a_limit_is_refused_by_its_name(
    changes: dict[str, Any], code: SiteCode, sentence: str
) -> None:
    error = refusal(RULES, study(**changes))
    assert (error.code, error.detail) == (code, sentence)


class Tuned(Frozen):
    tuning_epochs: int = 1


def test_a_strategy_that_asks_for_more_passes_under_a_name_of_its_own_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = replace(ALGORITHMS["fine-tuning"], parameters=Tuned, epochs=lambda parameters: parameters.tuning_epochs)
    monkeypatch.setattr(ALGORITHMS, "_entries", dict(ALGORITHMS._entries))
    ALGORITHMS.add("tuned", row)
    RULES.check(study(strategy={"name": "tuned", "tuning_epochs": 4}))
    error = refusal(RULES, study(strategy={"name": "tuned", "tuning_epochs": 5}))
    assert error.detail == "most_epochs: the study asks for 5, site.yaml allows 4"


def test_a_hospital_may_have_another_margin_around_lesions() -> None:
    rules = RULES.model_copy(update={"lesion_margin_mm": 8.0})
    rules.check(study(preprocessing={"lesion_margin_mm": 8.0}))
    assert refusal(rules, study()).code is SiteCode.RECIPE_REFUSED


PEERS = {site: f"{site * 4} 4567 89AB CDEF 0123 4567 89AB CDEF" for site in "bcd"}
SECURE = {"privacy": {"secure_aggregation": {"minimum_sites": 4}}}


DISTRIBUTED = {"privacy": {"epsilon": 4, "secure_aggregation": {"minimum_sites": 4, "noise": "distributed"}}}


def test_a_study_with_distributed_noise_is_taken_by_a_site_that_trusts_as_many_to_add_theirs() -> None:
    RULES.model_copy(update={"peers": PEERS, "noise_from_sites": 3}).check(study(**DISTRIBUTED))


def test_a_study_of_secure_sums_is_taken_by_a_site_that_knows_enough_peers() -> None:
    RULES.model_copy(update={"peers": PEERS, "require_secure_aggregation": True}).check(study(**SECURE))


@pytest.mark.parametrize(
    ("rules", "asked", "code"),
    [
        ({}, SECURE, SiteCode.PEERS_UNKNOWN),
        ({"peers": dict(list(PEERS.items())[:2])}, SECURE, SiteCode.PEERS_UNKNOWN),
        ({"peers": PEERS, "minimum_sites_in_sum": 5}, SECURE, SiteCode.PEERS_UNKNOWN),
        ({"peers": PEERS, "require_secure_aggregation": True}, {}, SiteCode.SECURE_SUMS_ONLY),
        ({"peers": PEERS}, DISTRIBUTED, SiteCode.OWN_NOISE_ONLY),
        ({"peers": PEERS, "noise_from_sites": 2}, DISTRIBUTED, SiteCode.OWN_NOISE_ONLY),
        ({"peers": PEERS, "noise_from_sites": 3, "minimum_sites_in_sum": 5}, DISTRIBUTED, SiteCode.PEERS_UNKNOWN),
    ],
)
def test_what_a_site_does_not_take_of_secure_sums(rules: dict[str, Any], asked: dict[str, Any], code: SiteCode) -> None:
    assert refusal(RULES.model_copy(update=rules), study(**asked)).code is code


def test_rules_are_hashed_by_content_and_a_fingerprint_has_its_form() -> None:
    assert hash(Rules(peers=PEERS)) == hash(Rules(peers=dict(PEERS))) != hash(Rules())
    with pytest.raises(ValueError, match="peers"):
        Rules(peers={"b": "0123"})


def test_one_key_under_two_names_is_not_two_sites() -> None:
    """Once a hospital that was listed twice counted for two of the least that a secure sum is over."""
    with pytest.raises(ValueError, match="b and e have the same fingerprint"):
        Rules(peers=PEERS | {"e": PEERS["b"].replace(" ", "").upper()})
