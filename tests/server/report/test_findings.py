"""What the findings say of the figures, and what they must not say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from compared import GAIN, calibration, difference, metrics, model, row, unseen
from hypothesis import given
from hypothesis import strategies as st
from run_results import run_results

from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.subjects import PairedTest
from normfed_server.report import lesions, verdicts
from normfed_server.report.findings import sentences
from normfed_server.report.verdicts import main_models
from normfed_server.results.layout import RunResults, described
from normfed_server.results.league import SHOWN

UNSURE = "not distinguishable from"


def said(found: Mapping[str, Any]) -> list[str]:
    return sentences(run_results(**found))


def apart(auroc: dict[str, Any], auprc: dict[str, Any]) -> dict[str, Any]:
    """A difference of its own by each metric."""
    return {**auroc, "all": {"auroc": auroc["all"]["auroc"], "auprc": auprc["all"]["auprc"]}}


BETTER, WORSE, TIED = difference(0.1, 0.05, 0.15), difference(-0.2, -0.3, -0.1), difference(0.02, -0.02, 0.06)


def test_the_metrics_that_findings_speak_of_are_called_and_begin_as_everywhere() -> None:
    known = described(BUILT_IN)
    assert {metric: known[metric].title for metric in verdicts.TITLES} == verdicts.TITLES
    assert known["auroc"].chance == lesions.CHANCE


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["pooled", "local"]))
def test_a_model_is_better_or_worse_only_where_the_interval_excludes_a_tie(
    mean: float, below: float, above: float, name: str
) -> None:
    low, high = mean - below, mean + above
    if mean == low == high == 0:
        return  # the same, which is said in other words
    expected = "better than" if low >= SHOWN else "worse than" if high <= -SHOWN else UNSURE
    text = " ".join(said(metrics(**{name: difference(mean, low, high)})))
    assert [word for word in ("better than", "worse than", UNSURE) if word in text] == [expected]


@pytest.mark.parametrize("ends", [(0.0, 0.2), (-0.2, 0.0), (None, None)])
def test_an_interval_that_touches_a_tie_or_is_not_known_decides_nothing(
    ends: tuple[float | None, float | None],
) -> None:
    mean = -0.1 if ends[1] == 0 else 0.1
    (sentence,) = [text for text in said(metrics(local=difference(mean, *ends))) if "training alone" in text]
    assert sentence.startswith("It is not distinguishable from each site training alone by AUROC (")
    assert ("95 % interval" in sentence) == (ends[0] is not None)


def test_the_findings_name_the_other_trainings_and_the_figures() -> None:
    assert said(metrics(pooled=difference(-0.02, -0.03, -0.01), local=BETTER)) == [
        "It is worse than training on all scans in one place by AUROC (−0.020, 95 % interval −0.030 to −0.010) and "
        "average precision (−0.020, 95 % interval −0.030 to −0.010).",
        "It is better than each site training alone by AUROC (+0.100, 95 % interval +0.050 to +0.150) and "
        "average precision (+0.100, 95 % interval +0.050 to +0.150).",
        "At its worst site it reaches AUROC 0.800 (b) and average precision 0.100 (b); "
        "local-only training at its own worst AUROC 0.700 (b) and average precision 0.100 (b).",
        "The intervals are over patients, with the trained models held fixed: another seed may decide otherwise.",
    ]


@pytest.mark.parametrize(("nothing_drawn", "why"), [(["federated", "pooled"], ", by construction"), ([], "")])
def test_a_model_whose_figures_are_those_of_another_in_every_patient_is_the_same(
    nothing_drawn: list[str], why: str
) -> None:
    found = metrics(pooled=difference(0.0, 0.0, 0.0)) | {"nothing_drawn": nothing_drawn}
    assert said(found)[0] == f"It is the same as training on all scans in one place{why}: no patient's figure differs."


def test_an_interval_that_tables_would_show_as_zero_to_zero_is_said_in_words() -> None:
    tiny, wide = difference(0.0001, -0.0004, 0.0004), difference(0.0001, -0.0006, 0.0004)
    text = "It is not distinguishable from each site training alone by AUROC (0.000, within ±0.0005) or average"
    assert said(metrics(local=tiny))[0].startswith(text)
    assert "(0.000, 95 % interval −0.001 to 0.000)" in said(metrics(local=wide))[0]


def convergence(ratio: float) -> dict[str, Any]:
    return {"federated": {"loss": 2 * ratio, "reference": 2.0, "ratio": ratio}}


@pytest.mark.parametrize(("ratio", "shown"), [(1.0, None), (1.5, None), (1.51, "1.51"), (3.2, "3.20"), (40.0, "40.0")])
def test_training_that_stays_far_above_principal_components_did_not_converge(ratio: float, shown: str | None) -> None:
    for figures in (metrics(), {"evaluation": {}}):
        found = [text for text in said({**figures, "convergence": convergence(ratio)}) if "converge" in text]
        assert (
            found
            == [
                f"Training did not converge: in the last round the loss is {shown} times that of PCA with as many "
                "components. Train for more rounds, or raise federation.learning_rate."
            ][: shown is not None]
        )


def test_nothing_is_said_of_convergence_where_no_least_loss_is_known() -> None:
    assert not any("converge" in text for text in said(metrics()))


@pytest.mark.parametrize(
    ("auroc", "auprc", "expected"),
    [
        (TIED, WORSE, "tied by AUROC (+0.020, 95 % interval −0.020 to +0.060) and worse by average precision (−0.200"),
        (BETTER, WORSE, "better by AUROC (+0.100, 95 % interval +0.050 to +0.150) and worse by average precision (−0"),
        (WORSE, TIED, "worse by AUROC (−0.200, 95 % interval −0.300 to −0.100) and tied by average precision (+0.020"),
    ],
)
def test_where_the_metrics_disagree_each_says_which_way(
    auroc: dict[str, Any], auprc: dict[str, Any], expected: str
) -> None:
    found = said(metrics(pooled=apart(auroc, auprc)))
    assert found[0].startswith(f"Against training on all scans in one place it is {expected}")
    assert UNSURE not in " ".join(found)


def test_a_tie_by_both_metrics_is_one() -> None:
    assert said(metrics(pooled=TIED))[0].startswith(
        "It is not distinguishable from training on all scans in one place by AUROC (+0.020, 95 % interval −0.020 to "
        "+0.060) or average precision ("
    )


@pytest.mark.parametrize(
    ("name", "auroc", "expected"),
    [
        ("local", 0.43, "The local models are themselves below chance (AUROC 0.430; chance 0.5)."),
        ("local", 0.52, "The local models are themselves not distinguishable from chance (AUROC 0.520; chance 0.5)."),
        ("pooled", 0.43, "The pooled model is itself below chance (AUROC 0.430; chance 0.5)."),
        ("local", 0.56, None),
    ],
)
def test_to_be_better_than_a_model_that_knows_nothing_is_said_to_be_that(
    name: str, auroc: float, expected: str | None
) -> None:
    found = metrics(**{name: BETTER})
    found["evaluation"][name] = model(auroc)
    assert said(found)[0].endswith(expected or "+0.150).")
    found["evaluation"][name] = model(auroc, n=5)
    assert "chance" not in said(found)[0]


def of_kinds(**precisions: tuple[float, float, int]) -> dict[str, Any]:
    """Kind to its figures: AUROC, average precision, patients."""
    return {kind: model(*found)["all"] for kind, found in precisions.items()}


@pytest.mark.parametrize(("patients", "high", "worse"), [(6, -0.01, True), (5, -0.01, False), (6, 0.01, False)])
def test_a_kind_that_a_baseline_finds_surely_better_is_said(patients: int, high: float, worse: bool) -> None:
    found = metrics(atlas=BETTER)
    found["evaluation"]["federated"]["kinds"] = of_kinds(tumour=(0.9, 0.5, patients))
    one = {"mean": -0.1, "ci95": [-0.2, high]}
    found["differences"]["atlas"] = {**BETTER, "kinds": {"tumour": {"auroc": one}}}
    sentence = "By kind of lesion baselines score higher, beyond the interval: atlas on tumours by AUROC (−0.100, 95 % "
    sentence += "interval −0.200 to −0.010)."
    assert (sentence in said(found)) == worse
    assert any(text.startswith("By kind") for text in said(found)) == worse


@pytest.mark.parametrize("ends", [(-0.4, 0.1), (-0.4, 0.0), (None, None)])
def test_a_trivial_baseline_is_better_only_beyond_its_interval(ends: tuple[float | None, float | None]) -> None:
    found = metrics(atlas=difference(-0.3, *ends))
    found["evaluation"]["atlas"] = model(0.8, 0.5)
    (sentence,) = [text for text in said(found) if text.startswith("The trivial")]
    assert (
        sentence == "The trivial baseline atlas (AUROC 0.800, average precision 0.500) is not distinguishable from it."
    )


@pytest.mark.parametrize(("low", "said_so"), [(0.0401, True), (0.04, False), (0.01, False)])
def test_a_promise_is_called_broken_only_where_what_was_measured_is_surely_beyond_twice_it(
    low: float, said_so: bool
) -> None:
    found = metrics()
    found["evaluation"]["federated"] |= {"merged": {}, "calibration": calibration(0.071, low, a=3, b=1)}
    text = said(found)
    open_part = f"7.1 % ({100 * low:.2g}–7.1)"
    expected = (
        "The threshold promises to call 2 % of normal people's voxels abnormal; set on all other sites' people it "
        f"calls {open_part} at a (3 people) and {open_part} at b (1 person): expect false alarms there."
    )
    assert (expected in text) == said_so
    assert any("false alarms" in sentence for sentence in text) == said_so


def test_where_nothing_was_measured_no_promise_is_called_broken() -> None:
    found = metrics()
    found["evaluation"]["federated"] |= {"merged": {}, "calibration": calibration(None, a=3)}
    assert not any("false alarms" in sentence for sentence in said(found))


@pytest.mark.parametrize(("patients", "better"), [(5, False), (6, True)])
def test_with_fewer_than_six_patients_nothing_is_called_better(patients: int, better: bool) -> None:
    found = metrics(local=BETTER, atlas=WORSE)
    found["evaluation"]["federated"] = model(0.9, n=patients)
    found["evaluation"]["atlas"] = model(0.8, 0.5, n=patients)
    text = said(found)
    assert [word in " ".join(text) for word in ("better", "95 % interval", "seed")] == [better, better, better]
    alone = (
        "It is tested on too few patients to be told from each site training alone by AUROC (+0.100) or average "
        "precision (+0.100)."
    )
    assert (alone in text) != better


def trained(found: dict[str, Any], name: str, auroc: list[float]) -> None:
    """Give a model a row in the league, with the means of several trainings."""
    line = row(name, 0.2, None)
    found.setdefault("league", []).append(
        {**line, "auroc": {**line["auroc"], "trainings": auroc}, "auprc": {**line["auprc"], "trainings": auroc}}
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([0.9, 0.85], [0.8, 0.84], "It is better than each site training alone"),
        ([0.9, 0.82], [0.8, 0.84], "It is not distinguishable from each site training alone"),
        ([0.9], [0.95], "It is better than each site training alone"),  # once: the interval alone decides
    ],
)
def test_what_another_training_turns_round_is_not_called_better(
    ours: list[float], theirs: list[float], expected: str
) -> None:
    found = metrics(local=BETTER)
    trained(found, "federated", ours)
    trained(found, "local", theirs)
    text = said(found)
    assert any(sentence.startswith(expected) for sentence in text)
    several = "Better and worse: beyond the interval over patients, and in each of 2 trainings."
    assert (several in text) == (len(ours) > 1)


@pytest.mark.parametrize("other", ["pooled", "local", "leave-one-site-out"])
def test_what_is_no_baseline_is_never_called_trivial(other: str) -> None:
    found = metrics(**{other: None})
    found["evaluation"][other] = model(0.95, 0.9)
    assert not any("trivial" in sentence for sentence in said(found))


def test_the_best_of_several_strategies_is_said_with_where_it_was_picked() -> None:
    found = metrics()
    by_precision = {**GAIN, "gain": ["a", "b", "c"], "lose": []}
    best = row("ditto", 0.4, GAIN)
    best["gain_over_local"] = {"auroc": GAIN, "auprc": by_precision}
    found["league"] = [best, row("federated", 0.3, GAIN), {**row("local", 0.9, None), "strategy": None}]
    text = "Of 2 strategies ditto has the highest average precision (0.400, AUROC 0.750)"
    text += ", picked on these very patients, so expect less on others"
    gains = "; against training alone, beyond their intervals, 2 of 3 sites gain and 1 lose by AUROC, "
    gains += "3 of 3 sites gain and 0 lose by average precision."
    beside = "; it is not distinguishable from federated"  # they were not compared: a tie
    assert said(found)[-1] == text + beside + gains
    found["league"][0]["gain_over_local"] = None
    assert said(found)[-1] == text + beside + "."
    found["league"] = found["league"][1:]
    assert not any("strategies" in sentence for sentence in said(found))


def test_other_strategies_stand_in_the_league_and_not_among_the_models() -> None:
    found = metrics(pooled=None, ditto=None, atlas=None)
    found["strategies"]["ditto"] = {"name": "ditto"}
    assert list(main_models(run_results(**found))) == ["federated", "pooled", "atlas"]


@pytest.mark.parametrize("mean", [None, math.nan])
def test_what_no_site_says_is_not_compared(mean: float | None) -> None:
    found = json.loads(json.dumps(metrics(local=BETTER, atlas=WORSE)))
    for held in (found["evaluation"]["federated"], found["differences"]["local"], found["differences"]["atlas"]):
        held["all"]["auprc"]["mean"] = mean
    found["evaluation"]["federated"]["worst_site"] = {}
    text = said(found)
    assert not any("average precision" in sentence for sentence in text if not sentence.startswith("The trivial"))
    assert "It is better than each site training alone by AUROC (+0.100, 95 % interval +0.050 to +0.150)." in text
    found["evaluation"]["federated"]["all"] = {}
    assert said(found) == []


@pytest.mark.parametrize(
    ("difference_to", "word"), [(BETTER, "better than"), (WORSE, "worse than"), (TIED, UNSURE)], ids=["+", "-", "="]
)
def test_what_the_federation_is_worth_to_a_hospital_it_never_saw(difference_to: dict[str, Any], word: str) -> None:
    verdict = {"better than": "better", "worse than": "worse", UNSURE: "tied"}[word]
    mean, best = said(metrics(local=TIED) | {"unseen": unseen(difference_to, TIED)})[1:3]
    assert mean.startswith("At a hospital that it never saw the federation's model reaches AUROC 0.800 and average")
    assert f"there it is {verdict} by AUROC (0.700; " in mean
    assert "picked on the very patients of each hospital, which favours it, it is tied by AUROC (0.750; " in best


def test_of_few_patients_at_unseen_hospitals_nothing_is_said() -> None:
    few = metrics(local=TIED) | {"unseen": unseen(BETTER, BETTER, n=5)}
    assert not any("never saw" in text for text in said(few))


def test_at_unseen_hospitals_a_training_that_says_otherwise_makes_a_tie() -> None:
    found = metrics(**{"leave-one-site-out": None, "borrowed": None, "local": TIED}) | {"unseen": unseen(BETTER, TIED)}
    of_trainings = {"means": [0.8, 0.72], "mean": 0.76, "ci95": [0.2, 1.0]}
    found["evaluation"]["leave-one-site-out"]["trainings"] = {"auroc": of_trainings, "auprc": of_trainings}
    found["evaluation"]["borrowed"]["trainings"] = {
        "auroc": {**of_trainings, "means": [0.7, 0.71]},
        "auprc": {**of_trainings, "means": [0.7, 0.73]},
    }
    (text,) = [text for text in said(found) if "never saw" in text]
    assert "better by AUROC" in text
    assert "tied by average precision" in text
    found["unseen"] = unseen(BETTER, WORSE)  # better than the mean in every training of AUROC, worse than the best
    (text,) = [text for text in said(found) if text.startswith("Beside the best")]
    assert "it is worse by AUROC" in text


def test_a_model_of_which_nothing_is_drawn_says_so_instead_of_warning_of_seeds() -> None:
    found = metrics(local=TIED)
    assert "another seed may decide otherwise" in said(found)[-1]
    assert said(found | {"nothing_drawn": ["federated"]})[-1].endswith("every training gives this same model.")
    assert "seed" in said(found | {"nothing_drawn": ["atlas"]})[-1]


@pytest.mark.parametrize(
    ("own_less_ditto", "said_of_it"),
    [(WORSE, "it is better than federated"), (TIED, "it is not distinguishable from federated")],
)
def test_the_best_strategy_is_called_better_than_the_studys_own_only_where_it_surely_is(
    own_less_ditto: dict[str, Any], said_of_it: str
) -> None:
    found = metrics(ditto=own_less_ditto)
    found["strategies"]["ditto"] = {"name": "ditto"}
    found["evaluation"]["ditto"] = model(0.95, 0.4)
    found["league"] = [row("ditto", 0.4, None), row("federated", 0.2, None)]
    assert said_of_it in " ".join(said(found))


@pytest.mark.parametrize(
    ("differences", "said_of_them"),
    [
        ({"ditto": BETTER, "fedbn": BETTER}, "it is better than the others"),
        ({"ditto": BETTER, "fedbn": TIED}, "fedbn is not distinguishable from it"),
        ({"ditto": TIED, "fedbn": TIED}, "ditto and fedbn are not distinguishable from it"),
    ],
)
def test_strategies_that_tie_with_the_best_are_named_as_ties(
    differences: dict[str, dict[str, Any]], said_of_them: str
) -> None:
    found = metrics(**differences)
    found["strategies"] |= {name: {"name": name} for name in differences}
    found["league"] = [row("federated", 0.3, None), *(row(name, 0.2, None) for name in differences)]
    assert said_of_them in " ".join(said(found))


def test_a_tie_by_the_paired_test_alone_names_its_p_value() -> None:
    results = run_results(**metrics(local=BETTER))
    (unsure,) = [s for s in sentences(by_ranks(results, 0.0631, 1)) if UNSURE in s]
    assert "interval +0.050 to +0.150, but p = 0.063 by the paired test" in unsure
    assert not any("paired test" in s for s in sentences(by_ranks(results, 0.01, 1)))


def test_a_tie_for_the_paired_test_points_the_other_way_says_so() -> None:
    (unsure,) = [s for s in sentences(by_ranks(run_results(**metrics(local=BETTER)), 0.0042, -1)) if UNSURE in s]
    assert "interval +0.050 to +0.150, but the paired test points the other way, p = 0.004" in unsure


def by_ranks(results: RunResults, p: float, direction: int) -> RunResults:
    """By both metrics alike."""
    return results.tested({metric: {"local": PairedTest(p, direction)} for metric in ("auroc", "auprc")})
