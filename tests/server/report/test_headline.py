"""The first sentence of a run, and those that qualify it: from made-up figures, whose verdict is worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from compared import difference, metrics, model, row
from run_results import run_results

from normfed_common.metrics.subjects import PairedTest
from normfed_server.arms.calibration import OWN_TISSUE
from normfed_server.report.headline import headline, in_short, reasons_against

BETTER, WORSE, TIED = difference(0.1, 0.05, 0.15), difference(-0.2, -0.3, -0.1), difference(0.02, -0.02, 0.06)


def said(found: dict[str, Any]) -> list[str]:
    return headline(run_results(**found))


def apart(auroc: dict[str, Any], auprc: dict[str, Any]) -> dict[str, Any]:
    """A difference of its own by each metric."""
    return {**auroc, "all": {"auroc": auroc["all"]["auroc"], "auprc": auprc["all"]["auprc"]}}


def of_kinds(**precisions: tuple[float, float, int]) -> dict[str, Any]:
    """Kind to its figures: AUROC, average precision, patients; every interval reaches 0.05 to either side."""
    return {kind: model(*found)["all"] for kind, found in precisions.items()}


def trained(found: dict[str, Any], name: str, means: list[float]) -> None:
    """Give a model a row in the league, with the means of several trainings."""
    line = row(name, 0.2, None)
    both = {metric: {**line[metric], "trainings": means} for metric in ("auroc", "auprc")}
    found.setdefault("league", []).append({**line, **both})


def test_the_first_sentence_says_whether_lesions_are_found_and_the_next_names_chance_of_both_figures() -> None:
    found = metrics() | {"lesion_share": {"all": 0.0213, "sites": {"a": 0.02}}}
    assert said(found) == [
        "Voxel by voxel the federated model is partly precise for lesions.",
        "It reaches AUROC 0.900 (chance 0.5) and average precision 0.200 (chance 0.021), means over 20 patients.",
    ]


def test_chance_of_average_precision_is_explained_where_a_run_did_not_keep_it() -> None:
    assert (
        "average precision 0.200 (chance: the lesions' share of the brain, not known of this run)" in said(metrics())[1]
    )


def test_kinds_of_lesion_are_told_apart_and_a_kind_at_chance_is_warned_of() -> None:
    found = metrics()
    found["evaluation"]["federated"]["kinds"] = of_kinds(
        MS=(0.97, 0.5, 9), tumour=(0.97, 0.93, 9), FCD=(0.54, 0.005, 6), WMH=(0.99, 0.84, 4)
    )
    text = said(found)
    assert text[0] == "Voxel by voxel the federated model is precise for tumours, partly for MS and not for FCD."
    assert "Too few patients to say more of WMH (4)." in text
    assert "Do not use this map for FCD: its ranking is no better than chance (AUROC 0.540; chance 0.5)." in text


@pytest.mark.parametrize(
    ("hits", "intervals", "false", "expected"),
    [
        (
            30,
            "bootstrap",
            36,
            "The federated model finds lesions in 30 of 36 patients: its most suspicious clusters, at most ten in a "
            "scan, at the run's threshold or above it, touch 40 % of a patient's lesions on average, and 3.11 of them "
            "touch none.",
        ),
        (
            None,
            "bootstrap",
            36,
            "The federated model finds lesions in 0 of 36 patients: its most suspicious clusters, at most ten in a "
            "scan, at the run's threshold or above it, touch 40 % of a patient's lesions on average, and 3.11 of them "
            "touch none.",
        ),
        *(  # a hospital tells a number only if it is that of all its patients: 12 may have been 35
            (
                hits,
                "moments",
                50,  # people without a lesion among them
                "The federated model finds lesions: its most suspicious clusters, at most ten in a scan, at the run's "
                "threshold or above it, touch 40 % of a patient's lesions on average.",
            )
            for hits in (None, 12)
        ),
        (
            36,
            "moments",
            36,
            "The federated model finds lesions in 36 of 36 patients: its most suspicious clusters, at most ten in a "
            "scan, at the run's threshold or above it, touch 40 % of a patient's lesions on average, and 3.11 of them "
            "touch none.",
        ),
    ],
)
def test_in_how_many_patients_a_lesion_is_touched_is_how_many_have_a_rank_of_the_first_hit(
    hits: int | None, intervals: str, false: int, expected: str
) -> None:
    found = metrics()
    figures = {"lesion_sensitivity": (0.4, 36), "false_clusters": (3.11, false)} | (
        {"cluster_rank": (1.0, hits)} if hits else {}
    )
    found["evaluation"]["federated"]["all"] |= {
        name: {"mean": mean, "sd": 0.1, "n": n, "ci95": [0, 4]} for name, (mean, n) in figures.items()
    }
    text = said(found | {"intervals": intervals})
    assert text[:2] == [expected, "Voxel by voxel it is partly precise for lesions."]


def test_of_hospitals_that_say_no_average_precision_nothing_is_called_precise() -> None:
    found = metrics()
    del found["evaluation"]["federated"]["all"]["auprc"]
    assert said(found)[0] == "Voxel by voxel the federated model is above chance; how precise it is nobody says."


@pytest.mark.parametrize(
    ("auroc", "why"),
    [
        (0.43, "below chance (AUROC 0.430; chance 0.5)"),
        (0.45, "not distinguishable from chance (AUROC 0.450; chance 0.5)"),  # up to 0.5
        (0.55, "not distinguishable from chance (AUROC 0.550; chance 0.5)"),
        (0.56, "barely above chance (AUROC 0.560; chance 0.5)"),
    ],
)
def test_of_a_model_near_or_below_chance_the_map_is_not_to_be_used(auroc: float, why: str) -> None:
    found = metrics()
    found["evaluation"]["federated"] = model(auroc)
    text = said(found)
    assert text[0] == f"Do not use this map: the federated model is {why}."
    assert not any("precise" in sentence for sentence in text)
    assert reasons_against(run_results(**found))


def test_of_a_model_above_chance_the_map_may_be_used() -> None:
    found = metrics()
    found["evaluation"]["federated"] = model(0.61)
    assert not reasons_against(run_results(**found))


@pytest.mark.parametrize(("share", "use"), [(0.149, True), (0.151, False), (0.2, False)])
def test_an_average_precision_that_the_lesions_share_may_explain_is_chance(share: float, use: bool) -> None:
    """Average precision 0.2 over an interval from 0.15."""
    found = metrics() | {"lesion_share": {"all": share, "sites": {}}}
    assert bool(reasons_against(run_results(**found))) != use
    if not use:
        assert said(found)[0] == (
            "Do not use this map: the federated model is not distinguishable from chance (average precision 0.200; "
            f"chance {share:.3f}, the lesions' share of the brain)."
        )


@pytest.mark.parametrize(
    ("beside", "use"),
    [
        (WORSE, False),
        (apart(TIED, WORSE), False),
        (apart(WORSE, TIED), False),  # average precision decides nothing, AUROC does
        (apart(WORSE, BETTER), True),
        (TIED, True),
        (BETTER, True),
    ],
)
def test_below_a_trivial_baseline_the_map_is_not_to_be_used(beside: dict[str, Any], use: bool) -> None:
    found = metrics(atlas=beside)
    found["evaluation"]["atlas"] = model(0.9, 0.2)
    text = said(found)
    assert text[0].startswith("Do not use this map: the trivial baseline atlas finds lesions better.") != use
    assert any(sentence.startswith("Voxel by voxel the federated model is") for sentence in text)


@pytest.mark.parametrize("other", ["pooled", "local", "leave-one-site-out", "borrowed"])
def test_what_is_no_trivial_baseline_forbids_nothing(other: str) -> None:
    assert not reasons_against(run_results(**metrics(**{other: WORSE})))


@pytest.mark.parametrize(("patients", "use"), [(5, True), (6, False)])
def test_with_fewer_than_six_patients_there_is_no_verdict(patients: int, use: bool) -> None:
    found = metrics(atlas=WORSE)
    found["evaluation"]["federated"] = model(0.4, n=patients)
    text = said(found)
    assert text[0].startswith("Do not use this map") != use
    if use:
        assert text == [
            "Too few to say whether the federated model finds lesions: 5 patients are no evidence.",
            "It reaches AUROC 0.400 (chance 0.5) and average precision 0.200 (chance: the lesions' share of the brain, "
            "not known of this run), means over 5 patients.",
        ]


def test_one_patient_is_no_evidence() -> None:
    found = metrics()
    found["evaluation"]["federated"] = model(0.9, n=1)
    assert said(found)[0].endswith("finds lesions: 1 patient is no evidence.")
    assert said(found)[1].endswith("in 1 patient.")


def test_every_baseline_is_named_and_which_way_it_differs() -> None:
    baselines = {"flair-intensity": WORSE, "atlas": WORSE, "t1-intensity": BETTER, "dark": apart(TIED, WORSE)}
    found = metrics(**baselines, flat=TIED)
    better = {"flair-intensity": (0.95, 0.6), "atlas": (0.93, 0.5), "dark": (0.9, 0.4), "flat": (0.9, 0.2)}
    for name, figures in better.items():
        found["evaluation"][name] = model(*figures)
    found["evaluation"]["t1-intensity"] = model(0.6, 0.1)
    text = said(found)
    assert text[0] == (
        "Do not use this map: the trivial baselines flair-intensity, atlas and dark find lesions better."
    )
    assert text[-1] == (
        "Worse than flair-intensity (average precision −0.200) and atlas (average precision −0.200); worse than dark "
        "(−0.200) by average precision (tied by AUROC); no better than flat; better than t1-intensity (average "
        "precision +0.100)."
    )


def test_people_read_of_a_model_by_what_it_is_called_and_not_by_its_name_in_files() -> None:
    found = metrics(**{"flair-intensity-units+edge-5mm": TIED}) | {
        "titles": {"flair-intensity-units+edge-5mm": "FLAIR intensity", "federated": "federated VAE (FedProx)"}
    }
    text = said(found)
    assert text[0].startswith("Voxel by voxel the federated VAE (FedProx) is")
    assert text[-1] == "No better than FLAIR intensity."


@pytest.mark.parametrize(("high", "worse"), [(-0.01, True), (0.0, False), (0.01, False)])
def test_a_kind_that_a_baseline_surely_finds_better_is_not_to_be_looked_for_with_the_map(
    high: float, worse: bool
) -> None:
    found = metrics(atlas=BETTER)
    found["evaluation"]["federated"]["kinds"] = of_kinds(tumour=(0.9, 0.5, 6))
    one = {"mean": -0.1, "ci95": [-0.2, high]}
    found["differences"]["atlas"] = {**BETTER, "kinds": {"tumour": {"auprc": one}}}
    assert ("Do not use this map for tumours: atlas scores higher there, beyond the interval." in said(found)) == worse


@pytest.mark.parametrize(("another", "worse"), [(0.3, True), (0.6, False)])
def test_a_baseline_is_better_only_beside_every_training(another: float, worse: bool) -> None:
    found = metrics(atlas=WORSE)
    found["evaluation"]["atlas"] = model(0.5, 0.5)
    trained(found, "federated", [0.4, another])
    found["evaluation"]["federated"]["trainings"] = {
        "auroc": {"means": [0.9, 0.9], "mean": 0.9, "ci95": [0.8, 1.0]},
        "auprc": {"means": [0.4, another], "mean": 0.4, "ci95": [0.2, 0.6]},
    }
    found["differences"]["atlas"] = apart(TIED, WORSE)
    assert bool(reasons_against(run_results(**found))) == worse


@pytest.mark.parametrize(
    ("auroc", "another", "expected"),
    [
        (0.62, 0.55, "partly precise for lesions"),
        (0.62, 0.49, "not distinguishable"),
        (0.4, 0.45, "below"),
        (0.4, 0.51, "not distinguishable"),
    ],
)
def test_a_model_is_beside_chance_as_in_each_training(auroc: float, another: float, expected: str) -> None:
    found = metrics()
    found["evaluation"]["federated"] = model(auroc)
    trained(found, "federated", [auroc, another])
    assert expected in said(found)[0]
    assert bool(reasons_against(run_results(**found))) == (expected != "partly precise for lesions")


def test_where_nobody_with_a_lesion_was_tested_the_first_sentence_says_so() -> None:
    nothing = {"all": {}, "sites": {}, "kinds": {}, "worst_site": {}}
    for evaluation in ({}, {"federated": nothing}):
        (sentence,) = said(metrics() | {"evaluation": evaluation, "differences": {}})
        assert sentence.startswith("Nothing was tested: no patient with a lesion is among these people")


def test_where_sites_say_other_figures_only_that_is_said() -> None:
    dice = {"dice": {"mean": 0.5, "sd": 0.1, "n": 9, "ci95": [0.4, 0.6]}}
    found = metrics() | {"evaluation": {"federated": {"all": dice, "sites": {}, "kinds": {}, "worst_site": {}}}}
    assert said(found) == ["No site says an AUROC of the federated model, so whether it finds lesions is not known."]


@pytest.mark.parametrize(("source", "said_so"), [("held-out normal people", False), (OWN_TISSUE, True)])
def test_lesions_found_at_a_threshold_of_the_very_patients_are_said_to_be(source: str, said_so: bool) -> None:
    found = metrics()
    found["evaluation"]["federated"]["all"] |= {
        "lesion_sensitivity": {"mean": 0.4, "sd": 0.1, "n": 20, "ci95": [0, 1]},
    }
    found["evaluation"]["federated"] |= {"merged": {}, "threshold": {"value": 1.0, "from": source}}
    assert ("(set on the patients' own lesion-free tissue: too few people were held out)" in said(found)[0]) == said_so


@pytest.mark.parametrize(("p", "expected"), [(0.04, "Better than atlas"), (0.05, "No better than atlas")])
def test_a_model_is_better_only_where_the_interval_and_the_corrected_test_say_so(p: float, expected: str) -> None:
    found = metrics(atlas=BETTER)
    found["evaluation"]["atlas"] = model(0.8)
    results = run_results(**found)
    tested = results.tested({metric: {"atlas": PairedTest(p, 1)} for metric in ("auroc", "auprc")})
    assert any(sentence.startswith("Better than atlas") for sentence in headline(results))  # no test is known
    assert any(sentence.startswith(expected) for sentence in headline(tested))
    assert any(sentence.startswith("Better than atlas") for sentence in headline(tested)) == (p < 0.05)


def test_where_the_test_could_tell_nothing_apart_no_model_is_called_no_better() -> None:
    """Seven patients, all of them higher than by each of four others, have a corrected p of 0.062: once "no better"."""
    found = metrics(atlas=BETTER, flat=TIED)
    found["evaluation"] |= {"federated": model(0.9, n=7), "atlas": model(0.8, n=7), "flat": model(0.9, n=7)}
    results = run_results(**found)
    for least, expected in ((0.0625, False), (0.0469, True)):
        test = PairedTest(least, 1, least)
        text = headline(tested := results.tested({m: {"atlas": test, "flat": test} for m in ("auroc", "auprc")}))
        assert ("Better than atlas (average precision +0.100); no better than flat." in text) == expected
        few = "Too few patients to be told from atlas (average precision +0.100) and flat (average precision +0.020)."
        assert (few in text) != expected
        assert in_short(tested).endswith("; too few to say whether better than trivial baselines") != expected


@pytest.mark.parametrize(("by", "expected"), [(0.009, "Hardly better than"), (0.011, "Better than")])
def test_what_nobody_would_notice_is_hardly_better_however_surely(by: float, expected: str) -> None:
    found = metrics(atlas=difference(by, by / 2, 2 * by))
    found["evaluation"]["atlas"] = model(0.9 - by, 0.2 - by)
    assert any(sentence.startswith(f"{expected} atlas (") for sentence in said(found))


def test_a_baseline_that_is_above_by_the_interval_alone_is_warned_of_and_not_called_better() -> None:
    found = metrics(atlas=WORSE)
    found["evaluation"]["atlas"] = model(0.9, 0.4)
    tests = {metric: {"atlas": PairedTest(0.16, -1)} for metric in ("auroc", "auprc")}
    text = headline(run_results(**found).tested(tests))
    assert text[0] == (
        "Do not use this map: the trivial baseline atlas scores higher, by the interval if not by the paired test."
    )
    assert "No better than atlas." in text


@pytest.mark.parametrize(
    ("patients", "beside", "mind"),
    [(20, TIED, ""), (5, TIED, "; too few to say"), (20, WORSE, "; do not use this map")],
)
def test_a_run_is_said_in_a_line(patients: int, beside: dict[str, Any], mind: str) -> None:
    found = metrics(atlas=beside)
    found["evaluation"] |= {"federated": model(0.9, 0.2, patients), "atlas": model(0.9, 0.4, patients)}
    whom = f"federated model, {patients} patients at 1 site"
    assert in_short(run_results(**found)) == f"{whom}, average precision 0.200, AUROC 0.900{mind}"
