"""What metrics.json says, from made-up figures of sites: merged figures against those of all patients together."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_results import rounds as typed
from scipy import stats
from sklearn.metrics import roc_auc_score
from summaries import PER_SCAN, constant, patients, summary

from normfed_common.metrics.summary import Summary
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_server.arms.calibration import Calibration, SiteCalibration
from normfed_server.arms.evaluation import ArmResult
from normfed_server.arms.plan import Arm, Plan
from normfed_server.results.figures import Convergence
from normfed_server.results.layout import RunResults
from normfed_server.results.metrics import _convergence, assemble, consistent
from normfed_server.results.models import models
from normfed_server.sites.description import SiteDescription
from normfed_server.steps import progress as checkpoints
from normfed_server.steps.progress import Progress

MODEL = {"name": "siamese"}
KINDS = {"a": ["MS"] * 6 + ["WMH"] * 5, "b": ["MS"] * 7}
SITES = {site: SiteDescription(8, 2, len(kinds), ("MS",)) for site, kinds in KINDS.items()}


def arm(name: str, **more: Any) -> Arm:
    return Arm(name, MODEL, tuple(SITES), {}, **({"federated": name.startswith(("fed", "without"))} | more))


def results(summaries: Mapping[str, Mapping[str, Summary]]) -> dict[str, ArmResult]:
    return {name: ArmResult(summaries=dict(of)) for name, of in summaries.items()}


class Assembled:
    """metrics.json of arms' results."""

    def __init__(self, study: StudyConfig, folder: Path) -> None:
        self.study, self.folder = study, folder
        self.sites: Mapping[str, SiteDescription] = SITES

    def __call__(self, arms: Mapping[str, ArmResult], plan: Sequence[Arm] = ()) -> dict[str, Any]:
        planned = {name: arm(name) for name in arms} | {entry.name: entry for entry in plan}
        plans = Plan(tuple(planned.values()), {})
        found = assemble(self.study, plans, self.sites, arms, {}, self.folder, None)
        assert RunResults.model_validate_json(found.model_dump_json()) == found
        return found.model_dump(mode="json")

    def evaluation(self, arms: Mapping[str, ArmResult], name: str = "federated") -> dict[str, Any]:
        found: dict[str, Any] = self(arms)["evaluation"][name]
        return found


@pytest.fixture
def assembled(study: StudyConfig, tmp_path: Path) -> Assembled:
    return Assembled(study, tmp_path)


PATIENTS = {site: patients(len(kinds), seed) for seed, (site, kinds) in enumerate(KINDS.items())}


def summed(people: Mapping[str, Sequence[Mapping[str, float]]], resamplings: int = 0) -> dict[str, Summary]:
    return {site: summary(rows, KINDS[site], resamplings, site) for site, rows in people.items()}


def described(values: Sequence[float], metric: str) -> dict[str, Any]:
    """Figures of patients in one place."""
    mean = np.mean(values)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, stats.sem(values))
    counted = metric in ("cluster_rank", "false_clusters")
    return {
        "mean": pytest.approx(mean),
        "sd": pytest.approx(np.std(values, ddof=1)),
        "n": len(values),
    } | ({"ci95": pytest.approx([max(low, 0), high if counted else min(high, 1)])} if len(values) >= 6 else {})


@pytest.mark.parametrize("metric", PER_SCAN)
def test_figures_from_sums_are_those_of_the_patients_in_one_place(assembled: Assembled, metric: str) -> None:
    found = assembled.evaluation(results({"federated": summed(PATIENTS)}))
    values = {site: [patient[metric] for patient in rows] for site, rows in PATIENTS.items()}
    everybody, kinds = values["a"] + values["b"], KINDS["a"] + KINDS["b"]
    assert found["all"][metric] == described(everybody, metric)
    assert set(found["sites"]) == {"a", "b"}
    for site, of_site in values.items():
        assert found["sites"][site][metric] == described(of_site, metric)
    assert set(found["kinds"]) == {"MS", "WMH"}
    for kind in found["kinds"]:
        of_kind = [value for value, of in zip(everybody, kinds, strict=True) if of == kind]
        assert found["kinds"][kind][metric] == described(of_kind, metric)


def test_a_metric_that_is_defined_for_nobody_has_no_figures(assembled: Assembled) -> None:
    found = assembled.evaluation(results({"federated": {"a": constant(6, auroc=0.5)}}))
    assert set(found["all"]) == set(found["sites"]["a"]) == set(found["worst_site"]) == {"auroc"}


@pytest.mark.parametrize("metric", PER_SCAN)
def test_the_worst_site_is_the_highest_only_where_lower_is_better(assembled: Assembled, metric: str) -> None:
    low, high = (constant(6, **dict.fromkeys(PER_SCAN, value)) for value in (0.25, 0.75))
    found = assembled.evaluation(results({"federated": {"low": low, "high": high}}))["worst_site"][metric]
    bad = metric in ("cluster_rank", "false_clusters", "conformal_p")  # ranks, false alarms, how normal a lesion looks
    assert found == {"mean": 0.75, "site": "high"} if bad else {"mean": 0.25, "site": "low"}


def test_differences_are_ours_less_theirs_over_the_sites_that_have_both(assembled: Assembled) -> None:
    ours, theirs = PATIENTS, {"a": patients(len(KINDS["a"]), 9)}
    found = assembled(results({"federated": summed(ours), "atlas": summed(theirs)}))["differences"]
    assert set(found) == {"atlas"}
    a, b = ([patient["auprc"] for patient in of["a"]] for of in (ours, theirs))
    for group, chosen in (("all", slice(None)), ("MS", slice(6)), ("WMH", slice(6, None))):
        welch = stats.ttest_ind(a[chosen], b[chosen], equal_var=False).confidence_interval(0.95)
        figure = (found["atlas"] if group == "all" else found["atlas"]["kinds"])[group]["auprc"]
        assert figure["mean"] == pytest.approx(np.mean(a[chosen]) - np.mean(b[chosen]))
        told = len(a[chosen]) >= 6
        assert figure["n"] == len(a[chosen])
        assert figure["ci95"] == (pytest.approx(list(welch)) if told else [None, None])
    assert set(found["atlas"]["sites"]) == {"a"}
    assert found["atlas"]["sites"]["a"] == found["atlas"]["all"]


def test_a_model_without_a_site_in_common_has_no_difference(assembled: Assembled) -> None:
    found = assembled(results({"federated": {"a": constant(6, auprc=0.5)}, "atlas": {"b": constant(6, auprc=0.5)}}))
    assert found["differences"] == {}


def test_a_difference_of_what_only_one_model_says_is_not_told(assembled: Assembled) -> None:
    ours, theirs = constant(6, auprc=0.5, dice=0.5), constant(6, auprc=0.25, auroc=0.5)
    found = assembled(results({"federated": {"a": ours}, "atlas": {"a": theirs}}))["differences"]["atlas"]
    assert found["all"] == {"auprc": {"mean": 0.25, "n": 6, "ci95": [0.25, 0.25]}}


def test_intervals_are_by_resampling_only_where_all_sites_resample(assembled: Assembled) -> None:
    both = {"federated": summed(PATIENTS, 20), "atlas": summed(PATIENTS, 20)}
    assert assembled(results(both))["intervals"] == "bootstrap"
    one_without = both | {"atlas": both["atlas"] | {"b": summed(PATIENTS)["b"]}}
    assert assembled(results(one_without))["intervals"] == "moments"


VALUES = {name: constant(6, auroc=value) for name, value in {"x": 0.125, "y": 0.25, "z": 0.5, "w": 0.75}.items()}


def means(found: Mapping[str, Mapping[str, Summary]]) -> dict[str, dict[str, float]]:
    return {name: {s: summary.mean("auroc") for s, summary in of.items()} for name, of in found.items()}


def test_local_is_each_site_s_own_model_and_elsewhere_the_mean_of_the_others() -> None:
    found = models(
        results(
            {
                "local-a": {"a": VALUES["x"], "b": VALUES["w"], "c": VALUES["y"]},
                "local-b": {"b": VALUES["z"], "a": VALUES["w"], "c": VALUES["z"]},
                "local-d": {"c": VALUES["w"], "e": VALUES["x"]},  # gave no figures of its own
            }
        )
    )
    expected = {"a": 0.125, "b": 0.5, "c": 0.5, "e": 0.125}
    assert means(found) == {"local": pytest.approx(expected)}


def test_unseen_is_at_each_site_the_model_trained_without_it() -> None:
    found = models(
        results(
            {
                "without-a": {"a": VALUES["x"]},
                "without-b": {"b": VALUES["y"], "a": VALUES["w"]},
                "without-c": {"a": VALUES["w"]},  # c was gone
            }
        )
    )
    assert means(found) == {"leave-one-site-out": {"a": 0.125, "b": 0.25}}


def test_where_a_site_trains_nothing_the_federated_model_never_saw_it() -> None:
    arms = results({"federated": {"a": VALUES["z"], "d": VALUES["w"]}, "without-a": {"a": VALUES["x"]}})
    assert means(models(arms, train=("a",)))["leave-one-site-out"] == {"a": 0.125, "d": 0.75}
    gone = results({"federated": {"a": VALUES["z"], "b": VALUES["w"]}, "without-a": {"a": VALUES["x"]}})
    assert means(models(gone, train=("a", "b")))["leave-one-site-out"] == {"a": 0.125}


def test_borrowed_is_at_each_site_the_mean_of_the_others_models() -> None:
    local = {
        "local-a": {"a": VALUES["w"], "b": VALUES["x"], "c": VALUES["y"]},
        "local-b": {"a": VALUES["y"], "b": VALUES["w"], "c": VALUES["z"]},
        "local-c": {"a": VALUES["z"]},
    }
    found = means(models(results(local | {"without-a": {"a": VALUES["x"]}})))
    assert found["borrowed"] == pytest.approx({"a": 0.375, "b": 0.125, "c": 0.375})
    assert "borrowed" not in models(results(local))  # nothing is there to stand beside it


def test_models_come_in_one_order_the_federated_first_baselines_by_name() -> None:
    names = ("zeta", "atlas", "pooled", "without-a", "local-a", "federated", "fedprox")
    found = models(results({name: {"a": VALUES["x"]} for name in names}))
    assert list(found) == ["federated", "local", "leave-one-site-out", "pooled", "atlas", "fedprox", "zeta"]


def test_a_further_training_is_found_under_the_names_of_the_first() -> None:
    names = {"federated": "x", "federated~2": "y", "federated~12": "z", "local-a~2": "w", "atlas": "x"}
    arms = results({name: {"a": VALUES[value]} for name, value in names.items()})
    assert means(models(arms)) == {"federated": {"a": 0.125}, "atlas": {"a": 0.125}}
    assert means(models(arms, 1)) == {"federated": {"a": 0.25}, "local": {"a": 0.75}}
    assert means(models(arms, 11)) == {"federated": {"a": 0.5}}
    assert models(arms, 2) == {}


def test_trainings_have_an_interval_of_their_own_and_the_figures_are_the_first_s(
    assembled: Assembled, study: StudyConfig
) -> None:
    comparisons = study.comparisons.model_copy(update={"repeats": 3})
    assembled.study = study.model_copy(update={"comparisons": comparisons})
    names = {"federated": "x", "federated~2": "y", "federated~3": "z", "atlas": "w"}
    atlas = Arm("atlas", {"name": "atlas"}, tuple(SITES), {})
    found = assembled(results({name: {"a": VALUES[value]} for name, value in names.items()}), [atlas])
    means_of = [0.125, 0.25, 0.5]
    low, high = stats.t.interval(0.95, 2, np.mean(means_of), stats.sem(means_of))
    federated = found["evaluation"]["federated"]
    assert federated["all"]["auroc"]["mean"] == 0.125
    assert federated["trainings"]["auroc"]["means"] == means_of
    assert federated["trainings"]["auroc"]["ci95"] == pytest.approx([low, high])
    assert "trainings" not in found["evaluation"]["atlas"]
    assert found["nothing_drawn"] == ["atlas"]


def test_noise_is_drawn_in_what_learns_under_privacy_and_in_nothing_else(
    assembled: Assembled, study: StudyConfig
) -> None:
    assembled.study = study.model_copy(update={"privacy": PrivacyConfig(epsilon=4)})
    arms = [Arm(name, {"name": name}, tuple(SITES), {}) for name in ("atlas", "intensity")]
    names = ("federated", "atlas", "intensity")
    found = assembled(results({name: {"a": VALUES["x"]} for name in names}), arms)
    assert found["nothing_drawn"] == ["intensity"]


def test_trainings_are_compared_on_the_same_patients_where_a_site_lacks_one(
    assembled: Assembled, study: StudyConfig
) -> None:
    """Else the spread of the trainings would hold that of the sites."""
    comparisons = study.comparisons.model_copy(update={"repeats": 2})
    assembled.study = study.model_copy(update={"comparisons": comparisons})
    found = assembled(results({"federated": {"a": VALUES["x"], "b": VALUES["w"]}, "federated~2": {"a": VALUES["y"]}}))
    assert found["evaluation"]["federated"]["trainings"]["auroc"]["means"] == [0.125, 0.25]


def test_the_matrix_is_every_local_model_everywhere(assembled: Assembled) -> None:
    arms = {
        "federated": {"a": VALUES["x"]},
        "local-b": {"b": VALUES["z"], "a": VALUES["w"]},
        "local-a": {"a": VALUES["x"], "b": VALUES["y"]},
        "local-a~2": {"a": VALUES["w"]},
    }
    matrix = assembled(results(arms))["matrix"]["auroc"]
    assert matrix == {"a": {"a": 0.125, "b": 0.25}, "b": {"a": 0.75, "b": 0.5}}
    assert [list(matrix), list(matrix["b"])] == [["a", "b"], ["a", "b"]]


def test_of_a_site_that_names_other_kinds_than_for_the_federated_model_the_figures_are_left_out() -> None:
    rows = patients(8, 0)
    ms, wmh = (summary(rows, [kind] * 8) for kind in ("MS", "WMH"))
    counts = {"a": {"normal": np.ones(2)}, "b": {"normal": np.ones(2)}}
    arms = {
        "atlas": ArmResult({"a": wmh, "b": ms, "c": wmh}, counts, {"a": 0.5, "b": 0.6}, 1.5, "held out"),
        "federated": ArmResult({"a": ms, "b": ms}),
        "liar": ArmResult({"a": wmh}),
    }
    found = consistent(Plan(tuple(arm(name) for name in arms), {}), arms)
    assert {name: set(result.summaries) for name, result in found.items()} == {
        "federated": {"a", "b"},
        "atlas": {"b", "c"},
    }
    assert set(found["atlas"].counts) == set(found["atlas"].image_auroc) == {"b"}
    assert (found["atlas"].threshold, found["atlas"].threshold_from) == (1.5, "held out")
    assert set(arms["atlas"].summaries) == {"a", "b", "c"}  # what was kept on disk stays as it was


def test_an_arm_without_a_result_is_passed_over() -> None:
    plan = Plan((arm("federated"), arm("fedprox")), {})
    assert set(consistent(plan, results({"federated": {"a": VALUES["x"]}}))) == {"federated"}


def counted(normal: Sequence[int], ill: Sequence[int], bins: int = 8) -> dict[str, np.ndarray]:
    """A site's counts: voxels as people, for the scores do not matter here."""
    of_normal, of_ill = (np.bincount(values, minlength=bins) for values in (normal, ill))
    return {
        "normal": of_normal,
        "lesion": of_ill,
        "regions": of_ill * 1.0,
        "normal_people": of_normal,
        "patients": of_ill,
    }


NORMAL = {"a": [0, 1, 1, 2, 5], "b": [0, 0, 3, 4]}
ILL = {"a": [2, 6, 7], "b": [1, 5, 5, 7, 7]}


def test_merged_figures_are_those_of_all_scans_and_people_in_one_place(assembled: Assembled) -> None:
    by_site = {
        site: float(roc_auc_score([0] * len(NORMAL[site]) + [1] * len(ILL[site]), NORMAL[site] + ILL[site]))
        for site in NORMAL
    }
    result = ArmResult(
        summed(PATIENTS, 5),
        {site: counted(NORMAL[site], ILL[site]) for site in NORMAL},
        by_site,
        3.5,
        "held-out people",
    )
    found = assembled.evaluation({"federated": result})
    normal, ill = NORMAL["a"] + NORMAL["b"], ILL["a"] + ILL["b"]
    pooled = roc_auc_score([0] * len(normal) + [1] * len(ill), normal + ill)
    assert found["merged"]["auroc"]["value"] == pytest.approx(pooled)
    assert found["all"]["image_auroc"] == {"mean": pytest.approx(pooled), "sd": None, "n": 2}
    assert found["threshold"] == {"value": 3.5, "from": "held-out people"}
    assert found["exceedance_error"] == pytest.approx(result.exceedance_error())
    for site, value in by_site.items():
        assert found["sites"][site]["image_auroc"] == {"mean": value, "sd": None, "n": 1}
    worst = min(by_site, key=by_site.__getitem__)
    assert found["worst_site"]["image_auroc"] == {"mean": by_site[worst], "site": worst}


def calibration(**above: tuple[float, float] | None) -> Calibration:
    """Sites with ten voxels each, of which so many are at or above the others' thresholds."""
    sites = {
        site: SiteCalibration(
            people=3,
            voxels=10.0,
            own=(1.0, 2.5),
            above=(1.0, 2.0),
            others=None if ends is None else (2.0, 2.0),
            above_others=ends,
        )
        for site, ends in above.items()
    }
    return Calibration(promised=0.02, classes=("grey", "white"), thresholds=(2.0, 2.0), lacking=("white",), sites=sites)


def in_full(said: Calibration | None) -> dict[str, ArmResult]:
    counts = {site: counted(NORMAL[site], ILL[site]) for site in NORMAL}
    gone = dict.fromkeys(said.sites.keys() - NORMAL.keys() if said else (), "did not answer")
    summaries = summed(PATIENTS, 5)
    return {"federated": ArmResult(summaries, counts, {}, 3.5, "held-out people", missed=gone, calibration=said)}


def test_false_positives_are_shares_of_voxels_at_each_site_and_over_all(assembled: Assembled) -> None:
    found = assembled.evaluation(in_full(calibration(a=(2.0, 4.0), b=(1.0, 1.0))))["calibration"]
    assert found["sites"]["a"] == {
        "people": 3,
        "used": {"value": pytest.approx(0.15), "low": 0.1, "high": 0.2},
        "measured": {"value": pytest.approx(0.3), "low": 0.2, "high": 0.4},
        "own": {"grey": 1.0, "white": 2.5},
        "gap": {"grey": -1.0, "white": 0.5},
    }
    assert found["measured"] == {"value": pytest.approx(0.2), "low": pytest.approx(0.15), "high": pytest.approx(0.25)}
    assert (found["promised"], found["people"], found["unmeasured"]) == (0.02, 6, "")
    assert (found["thresholds"], found["lacking"]) == ({"grey": 2.0, "white": 2.0}, ["white"])


@pytest.mark.parametrize(
    ("above", "why"),
    [
        ({}, "no site has normal people enough held out"),
        (
            {"a": None},
            "only a has normal people enough held out, so nobody else can judge its threshold",
        ),
        ({"x": (1.0, 1.0), "y": (1.0, 1.0)}, "no site that has normal people enough held out gave figures"),
    ],
)
def test_where_nothing_was_measured_it_is_said_why(
    assembled: Assembled, above: dict[str, tuple[float, float] | None], why: str
) -> None:
    found = assembled.evaluation(in_full(calibration(**above)))["calibration"]
    assert (found["measured"], found["people"], found["unmeasured"]) == (None, 0, why)
    assert set(found["sites"]) == set(above) & {"a"}


def test_figures_of_before_say_nothing_of_what_thresholds_keep(assembled: Assembled) -> None:
    found = assembled.evaluation(in_full(None))
    assert "merged" in found
    assert "calibration" not in found


def test_a_model_that_was_ranked_only_has_no_merged_figures(assembled: Assembled) -> None:
    found = assembled.evaluation(results({"federated": summed(PATIENTS)}))
    assert not {"merged", "threshold", "exceedance_error"} & set(found)
    assert "image_auroc" not in found["all"] | found["worst_site"]


def test_image_figures_of_local_are_each_site_s_own(assembled: Assembled) -> None:
    own = {"a": VALUES["x"], "b": VALUES["y"]}
    arms = {
        "federated": ArmResult(own),
        "local-a": ArmResult(own, image_auroc={"a": 0.7, "b": 0.1}),
        "local-b": ArmResult(own, image_auroc={"a": 0.2}),
        "without-a": ArmResult({"a": VALUES["x"]}, image_auroc={"a": 0.3}),
    }
    found = assembled(arms)["evaluation"]
    assert {site for site, figures in found["local"]["sites"].items() if "image_auroc" in figures} == {"a"}
    assert found["local"]["worst_site"]["image_auroc"] == {"mean": 0.7, "site": "a"}
    assert "image_auroc" not in found["leave-one-site-out"]["sites"]["a"]


def test_counts_below_the_minimum_are_told_as_nothing_and_the_pooled_site_is_none(assembled: Assembled) -> None:
    assembled.sites = {
        "b": SiteDescription(12, BELOW_MINIMUM, 0, ("MS", "WMH")),
        "pooled": SiteDescription(12, 3, 4, ()),
        "a": SiteDescription(BELOW_MINIMUM, 0, 5, ()),
    }
    assert assembled(results({"federated": {"b": VALUES["x"]}}))["sites"] == [
        {"name": "b", "train": 12, "held_out": None, "test": 0, "kinds": ["MS", "WMH"]},
        {"name": "a", "train": None, "held_out": 0, "test": 5, "kinds": []},
    ]


def rounds(**outcomes: str) -> list[dict[str, Any]]:
    entry = {"outcomes": outcomes, "site_seconds": {"a": 2.0}, "megabytes": {"out": 1.0, "back": 0.5}}
    return [round.model_dump(mode="json") for round in typed(entry)]


def test_how_every_training_went_is_told_with_who_was_missing_and_missed(assembled: Assembled) -> None:
    late, fine, alone = rounds(a="took part", b="late"), rounds(a="took part"), rounds(a="failed")
    weights, missed = [{"w": np.ones(2)}], {"b": "no sums", "a": "late"}
    trained = {
        "federated": Progress(weights, history=late, missed=missed, notes={"a": ["means of cubes"]}),
        "fedprox": Progress(weights, history=fine),
        "local-a": Progress(weights, history=alone),
    }
    for name, progress in trained.items():
        checkpoints.save(assembled.folder / name / "progress.safetensors", progress, assembled.study.digest)
    arms = {name: ArmResult({"a": VALUES["x"]}) for name in trained}
    arms["federated"].missed["b"] = "no figures"
    served = {"z": "keeps part of the model"}
    plan = [arm("federated", not_served=served), arm("fedprox", strategy={"name": "fedprox", "mu": 0.5})]
    found = assembled(arms, [*plan, arm("federated~2", repeat=1), arm("without-a")])
    assert found["rounds"] == late
    assert found["rounds_of"] == {"fedprox": fine, "local-a": alone, "federated~2": [], "without-a": []}
    assert found["missing"] == {"federated": {"b": [1]}, "fedprox": {}}  # who trains alone is missing nowhere
    assert found["missed"] == {"federated": {"a": "late", "b": "no figures"}}
    assert list(found["missed"]["federated"]) == ["a", "b"]
    assert found["notes"] == {"federated": {"a": ["means of cubes"]}}
    assert found["not_served"] == {"federated": served}
    assert found["strategies"] == {"federated": {"name": "fedavg"}, "fedprox": {"name": "fedprox", "mu": 0.5}}
    assert found["league"][0]["megabytes_per_round"] == 1.5


def test_the_last_loss_stands_beside_principal_components_by_people() -> None:
    last = {"loss": {"a": 4.0, "b": 8.0, "c": None}, "reference": 2.0}
    entries = [{"loss": {"a": 9.0, "b": 9.0}, "reference": 2.0}, last]
    sites = {"a": SiteDescription(6, 0, 0, ()), "b": SiteDescription(2, 0, 0, ()), "c": SiteDescription(50, 0, 0, ())}
    expected = (6 * 4.0 + 2 * 8.0) / 8
    found = _convergence(typed(*entries), sites)
    assert found == Convergence(loss=expected, reference=2.0, ratio=expected / 2.0)


def test_without_a_least_loss_or_a_loss_there_is_no_convergence_to_tell_of() -> None:
    assert _convergence((), SITES) is None
    assert _convergence(typed({"loss": {"a": 1.0}}), SITES) is None
    assert _convergence(typed({"loss": {"a": None}, "reference": 2.0}), SITES) is None


def test_the_results_say_who_trained_and_what_people_read_of_the_baselines(assembled: Assembled) -> None:
    found = assembled(results({"federated": summed(PATIENTS)}), [replace(arm("federated"), train=("b",))])
    assert found["trained"] == ["b"]
    assert found["titles"]["flair-intensity"] == "FLAIR intensity"


def test_the_share_of_lesion_is_the_mean_over_patients_of_their_sites_and_of_all_voxels_together(
    assembled: Assembled,
) -> None:
    """30 of 1000 voxels of 11 patients at a, 10 of 100 of 7 at b; c tells of no lesion, and is in neither."""
    arms = results({"federated": summed(PATIENTS)})
    none = np.zeros(3)
    told = {"a": ([0, 30, 0], [500, 400, 70]), "b": ([4, 0, 6], [90, 0, 0]), "c": ([0, 0, 0], [50, 0, 0])}
    arms["federated"].counts = {
        site: {
            "lesion": np.array(lesion),
            "normal": np.array(normal),
            "regions": np.array(lesion, float),
            "normal_people": none,
            "patients": none,
        }
        for site, (lesion, normal) in told.items()
    }
    assert assembled(arms)["lesion_share"] == {
        "all": pytest.approx((11 * 0.03 + 7 * 0.1) / 18),
        "sites": {"a": pytest.approx(0.03), "b": pytest.approx(0.1)},
        "merged": pytest.approx(40 / 1100),
    }


def test_where_no_counts_are_told_no_share_of_lesion_is_known(assembled: Assembled) -> None:
    assert "lesion_share" not in assembled(results({"federated": summed(PATIENTS)}))


def test_the_versions_that_made_the_figures_stand_beside_them(assembled: Assembled) -> None:
    found = assembled(results({"federated": summed(PATIENTS)}))["software"]
    assert found["Python"] == platform.python_version()
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert set(found) == {"normfed", "torch", "flwr", "Python"}
