"""Which models a study trains, in which order, and where each is evaluated: from made-up sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from normfed_common.algorithms.arms import Trained, trained_as, trainings
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.study.postprocessing import PostprocessingConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_common.wire.bounds import BELOW_MINIMUM, ArmName
from normfed_server.arms.plan import Arm, Plan, baseline_titles, federated_title, make
from normfed_server.sites.description import SiteDescription

MINIMUM = 2  # of the tiny study


def site(train: int, test: int, held_out: int = 0) -> SiteDescription:
    return SiteDescription(train, held_out, test, ("MS",))


# c trains most; d only tests, e only trains.
SITES = {"b": site(3, 4), "d": site(0, 5), "c": site(9, 2), "a": site(5, 2), "e": site(4, 0)}


def planned(study: StudyConfig, sites: Mapping[str, SiteDescription] = SITES, **changes: Any) -> Plan:
    """Of the tiny study without baselines, with some comparisons; the other changes are the study's own."""
    raw = study.model_dump(mode="json")
    for key in ("strategy", "model", "federation"):
        if key in changes:
            raw[key] = (raw[key] if key == "federation" else {}) | changes.pop(key)
    raw["comparisons"] |= {"local": False, "baselines": []} | changes
    return make(resolve(raw, "test"), sites)


def by_name(plan: Plan) -> dict[str, Arm]:
    found = {arm.name: arm for arm in plan.arms}
    assert len(found) == len(plan.arms)
    return found


def test_the_longest_training_comes_first_and_baselines_last(study: StudyConfig) -> None:
    plan = planned(
        study,
        SITES | {"pooled": site(21, 13)},
        local=True,
        strategies=["fedprox", "fedavg"],
        compressions=["fp16"],
        leave_one_site_out=True,
        repeats=2,
        baselines=[{"name": "atlas"}],
    )
    once = ["pooled", "federated", "fedprox", "fedavg", "fedavg+fp16"]
    without, local = ["without-a", "without-b", "without-c"], ["local-c", "local-a", "local-e", "local-b"]
    again = [f"{name}~2" for name in (*once, *without, *local)]
    assert [arm.name for arm in plan.arms] == [*once, *without, *local, *again, "atlas"]


def test_an_arm_s_name_alone_says_how_the_plan_trains_it(study: StudyConfig) -> None:
    beside: dict[str, Any] = {
        "local": True,
        "strategies": ["fedprox", "fedavg"],
        "compressions": ["fp16"],
        "leave_one_site_out": True,
        "repeats": 2,
        "baselines": [{"name": "atlas"}, {"name": "intensity"}, {"name": "atlas", "smoothing_mm": 0}],
    }
    raw = study.model_dump(mode="json")
    raw["comparisons"] |= beside
    raw["strategy"] = {"name": "ditto"}
    resolved = resolve(raw, "test")
    plan = make(resolved, SITES | {"pooled": site(21, 13)})
    assert {arm.name: Trained(arm.model, arm.strategy, arm.repeat) for arm in plan.arms} == {
        arm.name: trained_as(resolved, arm.name) for arm in plan.arms
    }
    for stranger in ("fedprox~3", "fedprox~1", "fedprox~", "atlas~2", "krum", "", "federated+int8"):
        assert trained_as(resolved, stranger) is None


def test_only_the_study_s_own_strategy_is_evaluated_fully_and_with_maps(
    study: StudyConfig,
) -> None:
    arms = by_name(planned(study, strategies=["fedprox"], compressions=["int8"], federation={"compression": "fp16"}))
    assert arms["federated"].evaluate == dict.fromkeys("abcd", "full")
    for name, compression in (("fedprox", "fp16"), ("fedavg+int8", "int8")):
        assert arms[name].evaluate == dict.fromkeys("abcd", "ranking")
        assert arms[name].compression == compression
    assert {name: arm.maps for name, arm in arms.items() if arm.maps} == {"federated": True}
    assert {arm.train for arm in arms.values()} == {("a", "b", "c", "e")}
    assert all(arm.federated and arm.open for arm in arms.values())


def test_the_same_strategy_twice_is_numbered(study: StudyConfig) -> None:
    entries = [{"name": "fedprox", "mu": 0.1}, {"name": "fedprox", "mu": 0.2}, "fedavg"]
    arms = by_name(planned(study, strategies=entries))
    assert set(arms) == {"federated", "fedprox", "fedprox#2", "fedavg"}
    assert arms["fedprox#2"].strategy == {"name": "fedprox", "mu": 0.2}


def test_a_site_s_own_model_is_evaluated_fully_at_home_and_ranked_elsewhere(study: StudyConfig) -> None:
    arms = by_name(planned(study, local=True))
    assert arms["local-a"].train == ("a",)
    assert arms["local-a"].evaluate == {"a": "full", "b": "ranking", "c": "ranking", "d": "ranking"}
    assert arms["local-e"].evaluate == dict.fromkeys("abcd", "ranking")  # has nobody to test on
    assert not any(arm.federated or arm.open for name, arm in arms.items() if name.startswith("local"))


def test_local_models_are_trained_again_only_where_the_league_needs_them(study: StudyConfig) -> None:
    arms = by_name(planned(study, local=True, repeats=3))
    assert arms["local-a~3"].evaluate == {"a": "ranking", "d": "ranking"}  # at home, and where nobody trains
    assert arms["local-e~2"].evaluate == {"d": "ranking"}
    assert arms["federated~2"].evaluate == dict.fromkeys("abcd", "ranking")
    assert {name: arm.repeat for name, arm in arms.items() if "local" not in name} == {
        "federated": 0,
        "federated~2": 1,
        "federated~3": 2,
    }
    assert not arms["federated~2"].maps


def test_where_models_are_borrowed_every_training_of_them_is_tested_everywhere(study: StudyConfig) -> None:
    arms = by_name(planned(study, local=True, repeats=2, leave_one_site_out=True))
    assert arms["local-a~2"].evaluate == dict.fromkeys("abcd", "ranking")
    assert arms["without-a~2"].evaluate == {"a": "ranking"}


def test_a_model_of_which_nothing_is_drawn_is_trained_once_however_often_it_is_asked_for(study: StudyConfig) -> None:
    def names(**changes: Any) -> list[str]:
        return [arm.name for arm in planned(study, model={"name": "matched-filter"}, **changes).arms]

    assert names(local=True, repeats=3) == names(local=True)


def test_a_federation_without_a_site_is_for_those_that_train_and_test(study: StudyConfig) -> None:
    arms = by_name(planned(study, leave_one_site_out=True))
    without = {name: arm for name, arm in arms.items() if name.startswith("without")}
    assert {name: (arm.train, arm.evaluate) for name, arm in without.items()} == {
        "without-a": (("b", "c", "e"), {"a": "ranking"}),
        "without-b": (("a", "c", "e"), {"b": "ranking"}),
        "without-c": (("a", "b", "e"), {"c": "ranking"}),
    }
    assert all(arm.federated and not arm.open for arm in without.values())  # who is left out must not join


def test_all_scans_in_one_place_train_apart_and_count_as_no_site(study: StudyConfig) -> None:
    sites = SITES | {"pooled": site(21, 13)}
    arms = by_name(planned(study, sites))
    assert arms["pooled"].train == ("pooled",)
    assert arms["pooled"].evaluate == dict.fromkeys("abcd", "full")
    assert "pooled" not in arms["federated"].train
    assert "pooled" not in by_name(planned(study, sites, pooled=False))
    assert "pooled" not in by_name(planned(study, SITES, pooled=True))


@pytest.mark.parametrize(
    ("modalities", "entry", "name"),
    [
        (["T1w", "FLAIR"], {}, "flair-intensity"),
        (["T1w", "T2w"], {}, "t2w-intensity"),
        (["T1w"], {}, "t1w-intensity"),
        (["T1w", "FLAIR"], {"modality": "T1w"}, "t1w-intensity"),
    ],
)
def test_an_intensity_is_named_after_its_modality(
    study: StudyConfig, modalities: list[str], entry: dict[str, Any], name: str
) -> None:
    data = study.data.model_copy(update={"modalities": tuple(modalities)})
    baselines = ({"name": "intensity", **entry},)
    comparisons = study.comparisons.model_copy(update={"baselines": baselines, "local": False})
    changed = study.model_copy(update={"data": data, "comparisons": comparisons})
    assert [arm.name for arm in make(changed, SITES).arms] == ["federated", name]


def test_where_part_of_the_model_stays_at_the_sites_who_never_trained_is_not_served(study: StudyConfig) -> None:
    arms = by_name(planned(study, strategy={"name": "fedbn"}, strategies=["fedavg"]))
    assert arms["federated"].evaluate == dict.fromkeys("abc", "full")
    assert arms["federated"].not_served == {
        "d": "never trained, and fedbn keeps part of the model at the sites that did"
    }
    assert (set(arms["fedavg"].evaluate), arms["fedavg"].not_served) == (set("abcd"), {})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": {"name": "krum"}}, "strategy krum: needs 5 training sites, and 4 can train. Lower `malicious`"),
        ({"strategies": [{"name": "krum", "malicious": 2}]}, "needs 7 training sites, and 4 can train"),
        (
            {"strategy": {"name": "prior-clusters", "clusters": {"x": ["a", "d"], "y": ["z"]}}},
            "clusters names d, z; sites that train are a, b, c, e.",
        ),
        ({"strategy": {"name": "fedbn"}, "leave_one_site_out": True}, "leave_one_site_out: fedbn keeps part"),
    ],
)
def test_what_these_sites_cannot_train_is_one_sentence(
    study: StudyConfig, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StudyError, match=sentence):
        planned(study, **changes)


def test_as_many_sites_as_a_strategy_needs_are_enough(study: StudyConfig) -> None:
    assert planned(study, SITES | {"f": site(2, 0)}, strategy={"name": "krum", "malicious": 1}).arms
    assert planned(study, {}, strategy={"name": "krum"}).arms[0].train == ()  # whom nobody trains for is said elsewhere


def test_leaving_one_out_needs_two(study: StudyConfig) -> None:
    with pytest.raises(StudyError, match="needs two training sites or more"):
        planned(study, {"a": site(5, 5), "d": site(0, 5)}, leave_one_site_out=True)
    assert len(planned(study, {"a": site(5, 5), "b": site(5, 5)}, leave_one_site_out=True).arms) == 3


FEW_TRAIN = f"trains nothing: fewer than the minimum of {MINIMUM} people to train on"


FEW_TEST = f"reports nothing: fewer than the minimum of {MINIMUM} people to test on"


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (site(MINIMUM, MINIMUM), None),
        (site(MINIMUM - 1, MINIMUM), FEW_TRAIN),
        (site(MINIMUM, MINIMUM - 1), FEW_TEST),
        (site(BELOW_MINIMUM, BELOW_MINIMUM), f"{FEW_TRAIN}; {FEW_TEST}"),
        (site(0, MINIMUM), None),  # by the study's own choice
        (site(MINIMUM, 0), None),
        (site(0, 0, held_out=9), "takes no part: nobody to train or to test on"),
    ],
)
def test_who_is_left_out_is_told_why(study: StudyConfig, described: SiteDescription, why: str | None) -> None:
    plan = planned(study, {"x": described, "pooled": site(1, 1)})
    assert plan.left_out == ({} if why is None else {"x": why})


counts = st.sampled_from([BELOW_MINIMUM, 0, 1, 2, 3, 7])


names = st.sampled_from(["a", "b", "c", "d", "pooled"])


@given(st.dictionaries(names, st.builds(site, counts, counts)), st.integers(1, 3))
def test_who_trains_and_who_tests_has_the_minimum_of_people_for_it(
    study: StudyConfig, sites: dict[str, SiteDescription], minimum: int
) -> None:
    plan = planned(study, sites, local=True, federation={"minimum_cohort": minimum})
    arms = by_name(plan)
    members = {name: described for name, described in sites.items() if name != "pooled"}
    assert arms["federated"].train == tuple(sorted(name for name, s in members.items() if s.train >= minimum))
    assert set(arms["federated"].evaluate) == {name for name, s in members.items() if s.test >= minimum}
    assert {name for name in arms if name.startswith("local-")} == {f"local-{name}" for name in arms["federated"].train}


def test_whoever_is_held_out_where_nobody_tests_sets_thresholds_too(study: StudyConfig) -> None:
    """Of the models that are evaluated fully everywhere, and where a site is served a whole model."""
    more = SITES | {"h": site(0, 0, 3), "i": site(6, BELOW_MINIMUM, 2), "j": site(6, 0, 1), "pooled": site(20, 9, 5)}
    arms = by_name(planned(study, more, strategies=["fedbn"], local=True, pooled=True, baselines=[{"name": "atlas"}]))
    asked = {name: arm.calibrate for name, arm in arms.items() if arm.calibrate}
    assert asked == dict.fromkeys(("federated", "pooled", "atlas"), ("h", "i"))
    assert not {"h", "i"} & set(arms["federated"].evaluate)
    kept = by_name(planned(study, more, strategy={"name": "fedbn"}))
    assert kept["federated"].calibrate == ("i",)


def test_every_comparison_is_planned_and_small_sites_are_left_out_aloud(study: StudyConfig) -> None:
    sites = {
        "big": SiteDescription(10, 3, 5, ("MS",)),
        "lone": SiteDescription(1, 0, 1, ("MS",)),
        "tests": SiteDescription(0, 2, 4, ("WMH",)),
        "pooled": SiteDescription(11, 5, 10, ("MS", "WMH")),
    }
    plan = make(study, sites)
    arms = {arm.name: arm for arm in plan.arms}
    assert set(arms) == {"federated", "pooled", "local-big", "flair-intensity", "atlas", "mean-brain-residual"}
    assert arms["federated"].train == ("big",)
    assert arms["pooled"].train == ("pooled",)
    assert arms["federated"].evaluate == {"big": "full", "tests": "full"}
    assert arms["local-big"].evaluate == {"big": "full", "tests": "ranking"}
    assert "fewer than the minimum of 2" in plan.left_out["lone"]
    assert set(plan.left_out) == {"lone"}


def test_baselines_of_one_model_are_arms_of_their_own(study: StudyConfig) -> None:
    entries = (
        {"name": "atlas", "prior_subjects": 5.0},
        {"name": "intensity"},
        {"name": "atlas", "prior_subjects": 0.0},
        {"name": "intensity", "modality": "FLAIR", "suspicious": "dark"},
        {"name": "atlas", "prior_subjects": 1.0},
    )
    compared = study.model_copy(update={"comparisons": study.comparisons.model_copy(update={"baselines": entries})})
    arms = make(compared, {"big": SiteDescription(10, 3, 5, ("MS",))}).arms
    assert len({arm.name for arm in arms}) == len(arms)
    found = {arm.name: arm.model for arm in arms if arm.model in entries}
    names = ("atlas", "flair-intensity", "atlas#2", "flair-intensity#2", "atlas#3")
    assert found == dict(zip(names, entries, strict=True))


def test_a_baseline_with_post_processing_of_its_own_says_so_in_its_name(study: StudyConfig) -> None:
    """What the study does to all maps is in no name."""
    smoothed = {"smoothing_mm": 1.4, "edge_mm": 5.0, "edge_factor": 0.5}
    rest = {"fluid": "patient", "minimum_cluster_mm3": 40.0}
    entries = (
        {"name": "intensity"},
        {"name": "intensity", "postprocessing": smoothed},
        {"name": "intensity", "postprocessing": rest},
        {"name": "intensity", "postprocessing": {}},
        {"name": "atlas", "postprocessing": {"edge_mm": 4.0}},
    )
    compared = study.model_copy(
        update={
            "comparisons": study.comparisons.model_copy(update={"baselines": entries}),
            "postprocessing": PostprocessingConfig(edge_mm=4.0),
        }
    )
    arms = [arm for arm in make(compared, {"big": SiteDescription(10, 3, 5, ("MS",))}).arms if arm.model in entries]
    names = (
        "flair-intensity",
        "flair-intensity+smoothed-1.4mm+edge-5mm-x0.5",
        "flair-intensity+no-patient-fluid+peaks-40mm3",
        "flair-intensity+raw",
        "atlas",
    )
    assert {arm.name: arm.model for arm in arms} == dict(zip(names, entries, strict=True))
    for name in names:
        TypeAdapter(ArmName).validate_python(name)


def test_people_read_a_baseline_in_words_and_what_is_done_to_its_maps_beside_the_model_s(study: StudyConfig) -> None:
    own, other = {"edge_mm": 5.0, "grey_factor": 0.4}, {"smoothing_mm": 2.0}
    entries = (
        {"name": "intensity"},
        {"name": "intensity", "scale": "units", "postprocessing": own},
        {"name": "intensity", "smoothing_mm": 2.0, "postprocessing": other},
        {"name": "atlas", "scale": "none"},
        {"name": "atlas", "regress": ["age", "sex"]},
        {"name": "atlas", "score": "rms"},
        {"name": "atlas"},
        {"name": "atlas", "prior_subjects": 0.0},
        {"name": "ensemble"},
        {"name": "autoencoder"},
    )
    raw = study.model_dump(mode="json")
    raw |= {"model": {"name": "atlas", "postprocessing": own}}
    raw["comparisons"]["baselines"] = list(entries)
    assert baseline_titles(resolve(raw, "test")) == {
        "flair-intensity": "FLAIR intensity",
        "flair-intensity-units+edge-5mm+grey-x0.4": "FLAIR intensity with the same post-processing",
        "flair-intensity-smoothed+smoothed-2mm": "smoothed FLAIR intensity with other post-processing (smoothed-2mm)",
        "mean-brain-residual": "mean-brain residual",
        "atlas-age-sex": "atlas of age and sex",
        "atlas-rms": "atlas (root mean square)",
        "atlas": "atlas without post-processing",
        "atlas#2": "atlas (prior_subjects: 0) without post-processing",
        "ensemble-of-atlas+flair-intensity": "ensemble-of-atlas+flair-intensity",
        "autoencoder": "autoencoder",
    }
    raw["postprocessing"] = own
    same = baseline_titles(resolve(raw, "test"))
    assert same["atlas-age-sex"] == "atlas of age and sex with the same post-processing"
    assert same["flair-intensity"] == "FLAIR intensity with the same post-processing (flair-intensity)"


def test_a_baseline_of_the_studys_own_kind_says_what_differs_and_its_very_self_is_none(study: StudyConfig) -> None:
    raw = study.model_dump(mode="json")
    raw["model"] = {"name": "atlas", "prior_subjects": 2.0, "suspicious": {"T1w": "both"}}
    others = [{"name": "atlas"}, {"name": "atlas", "prior_subjects": 2.0}, {"name": "intensity"}]
    raw["comparisons"]["baselines"] = [raw["model"], *others]
    expected = {
        "atlas": "atlas (prior_subjects: 5, suspicious: none)",
        "atlas#2": "atlas (suspicious: none)",
        "flair-intensity": "FLAIR intensity",
    }
    asked = resolve(raw, "test")
    assert baseline_titles(asked) == expected
    assert {arm.name for arm in make(asked, {"a": SiteDescription(10, 3, 5, ("MS",))}).arms} >= set(expected)
    noisy = asked.model_copy(update={"privacy": PrivacyConfig(epsilon=4.0)})
    assert list(baseline_titles(noisy)) == ["atlas", "atlas#2", "atlas#3", "flair-intensity"]


def test_under_privacy_every_training_draws_noise_so_that_repeats_are_trained() -> None:
    study = resolve(
        {"name": "t", "data": {"modalities": ["T1w"]}, "model": "atlas", "comparisons": {"repeats": 3}}, "t"
    )
    assert trainings(study) == 1
    assert trainings(study.model_copy(update={"privacy": PrivacyConfig(epsilon=4.0)})) == 3


@pytest.mark.parametrize(
    ("model", "strategy", "expected"),
    [
        ("vae", "fedprox", "federated vae (FedProx)"),
        ("matched-filter", "fedavg", "federated matched filter (sums)"),  # nothing of it is averaged
        ("atlas", "fedavg", "federated atlas (sums)"),
        ("intensity", "fedavg", "federated FLAIR intensity (nothing is learnt)"),
    ],
)
def test_the_studys_own_model_is_called_by_what_it_is_and_how_it_is_learnt(
    study: StudyConfig, model: str, strategy: str, expected: str
) -> None:
    raw = study.model_dump(mode="json") | {"model": {"name": model}, "strategy": {"name": strategy}}
    assert federated_title(resolve(raw, "test")) == expected
