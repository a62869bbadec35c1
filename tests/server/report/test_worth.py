"""What a federation is worth: one sentence, whatever the figures."""

from __future__ import annotations

from typing import Any

import pytest
from compared import difference, metrics, unseen
from run_results import run_results

from normfed_common.metrics.subjects import PairedTest
from normfed_server.report.headline import headline
from normfed_server.report.worth import worth

BETTER, WORSE, TIED = difference(0.1, 0.05, 0.15), difference(-0.2, -0.3, -0.1), difference(0.02, -0.02, 0.06)


def said(found: dict[str, Any]) -> list[str]:
    return worth(run_results(**found))


@pytest.mark.parametrize(
    ("local", "borrowed", "expected"),
    [
        (BETTER, BETTER, "Hospitals that train gain by average precision over their own models (+0.100)."),
        (TIED, BETTER, "that is what this federation is for."),
        (WORSE, BETTER, "that is what this federation is for."),
        (WORSE, TIED, "Hospitals that train lose by average precision against their own models (−0.200)."),
        (TIED, TIED, "no hospital is seen to gain by average precision from the others, whether it trains or not."),
        (TIED, None, "no hospital that trains is seen to gain by average precision from the others."),
        (WORSE, None, "Hospitals that train lose by average precision against their own models (−0.200)."),
    ],
)
def test_whom_a_federation_serves_is_said_once_and_stands_near_the_top(
    local: dict[str, Any], borrowed: dict[str, Any] | None, expected: str
) -> None:
    found = metrics(local=local) | ({} if borrowed is None else {"unseen": unseen(borrowed, TIED)})
    (sentence,) = said(found)
    assert sentence.endswith(expected)
    assert headline(run_results(**found)).count(sentence) == 1


def test_a_loss_is_not_hidden_by_what_hospitals_gain_that_do_not_train() -> None:
    (sentence,) = said(metrics(local=WORSE) | {"unseen": unseen(BETTER, TIED)})
    assert sentence.startswith("Hospitals that train lose by average precision against their own models (−0.200); one")


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        (BETTER, "Hospitals gain by average precision over what they have alone (their own models or, where"),
        (WORSE, "Hospitals lose by average precision against what they have alone (their own models or, where"),
        (TIED, "With this model, on these scans, no hospital is seen to gain by average precision from"),
    ],
)
def test_where_one_that_trains_nothing_is_tested_too_all_are_spoken_of(local: dict[str, Any], expected: str) -> None:
    found = metrics(local=local) | {"trained": ["b", "c"]}
    (sentence,) = said(found)
    assert sentence.startswith(expected)


@pytest.mark.parametrize(
    ("borrowed", "end"),
    [
        (TIED, "."),
        (
            BETTER,
            "; one that does not train gains over the mean of the others' models: that is what this federation is for.",
        ),
    ],
)
def test_of_patients_whom_the_test_could_never_tell_apart_that_is_said_and_how_many_they_are(
    borrowed: dict[str, Any], end: str
) -> None:
    found = metrics(local=BETTER) | {"unseen": unseen(borrowed, TIED)}
    found["differences"]["local"]["all"]["auprc"]["n"] = 7  # of 20 whom the federated model was tested on
    results = run_results(**found).tested({"auprc": {"local": PairedTest(0.0625, 1, 0.0625)}})
    few = "7 patients are too few to tell whether hospitals that train gain by average precision over their own models"
    assert worth(results) == [f"{few} (+0.100){end}"]


def test_nothing_is_said_of_few_patients_nor_where_one_hospital_trained_or_nobody_alone() -> None:
    few = metrics(local=TIED)
    for figure in few["evaluation"]["federated"]["all"].values():
        figure["n"] = 5
    assert said(few) == []
    assert said(metrics(local=TIED) | {"trained": ["a"]}) == []
    assert said(metrics()) == []


def test_of_few_patients_at_unseen_hospitals_only_those_that_train_are_spoken_of() -> None:
    (sentence,) = said(metrics(local=TIED) | {"unseen": unseen(BETTER, BETTER, n=5)})
    assert "no hospital that trains is seen to gain" in sentence


def test_a_model_at_chance_is_worth_nothing_to_anybody_and_that_is_said_first() -> None:
    found = metrics(local=BETTER)
    found["evaluation"]["federated"]["all"]["auroc"] |= {"mean": 0.52, "ci95": [0.45, 0.6]}
    assert not any("gain" in sentence for sentence in headline(run_results(**found)))
