"""What strategies are to the study's own: the headline of a comparison, from made-up figures."""

from __future__ import annotations

from typing import Any

import pytest
from compared import difference, metrics, model, row
from run_results import run_results

from normfed_common.metrics.subjects import PairedTest
from normfed_server.report.strategies import comparison, rivals


def compared(beside: dict[str, Any], patients: int = 20) -> dict[str, Any]:
    """FedAvg, less Ditto."""
    found = metrics(ditto=beside)
    found["evaluation"] |= {name: model(0.8, n=patients) for name in ("federated", "ditto")}
    own = {**row("federated", 0.2, None), "title": "FedAvg (the study's own)", "strategy": {"name": "fedavg"}}
    other = {**row("ditto", 0.3, None), "title": "Ditto", "strategy": {"name": "ditto", "lambda": 0.1}}
    return found | {"league": [other, own]}


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        (
            difference(0.2, 0.1, 0.3),
            "Ditto finds lesions worse than FedAvg (average precision −0.200, 95 % interval −0.300 to −0.100).",
        ),
        (
            difference(-0.2, -0.3, -0.1),
            "Ditto finds lesions better than FedAvg (average precision +0.200, 95 % interval +0.100 to +0.300).",
        ),
        (
            difference(-0.2, -0.5, 0.1),
            "Ditto is not distinguishable from FedAvg (average precision +0.200, 95 % interval −0.100 to +0.500).",
        ),
        (difference(0.0, 0.0, 0.0), "Ditto is the same as FedAvg: no patient's figure differs."),
    ],
)
def test_the_first_sentence_is_the_difference_and_the_next_what_they_differ_in(
    beside: dict[str, Any], expected: str
) -> None:
    first, differ = comparison(run_results(**compared(beside)))
    assert first == expected
    assert differ == (
        "They differ in this alone: fedavg and ditto (lambda 0.1). People, model, rounds and seed are the same; FedAvg "
        "reaches average precision 0.200."
    )


def test_of_fewer_than_six_patients_no_strategy_is_better() -> None:
    first, _ = comparison(run_results(**compared(difference(0.2, 0.1, 0.3), patients=5)))
    assert first == "Too few to say which strategy is better: 5 patients are no evidence."


@pytest.mark.parametrize(
    ("p", "direction", "why"),
    [
        (0.0631, 1, "p = 0.063 by the paired test"),
        (0.0042, -1, "the paired test points the other way, p = 0.004"),
    ],
)
def test_a_tie_by_the_paired_test_alone_says_so(p: float, direction: int, why: str) -> None:
    results = run_results(**compared(difference(0.2, 0.1, 0.3)))
    tested = results.tested({metric: {"ditto": PairedTest(p, direction)} for metric in ("auroc", "auprc")})
    apart = "average precision −0.200, 95 % interval −0.300 to −0.100"
    assert comparison(tested)[0] == f"Ditto is not distinguishable from FedAvg ({apart}, but {why})."
    (rival,) = rivals(tested)
    assert rival.objections == {"auroc": why, "auprc": why}


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        (
            difference(0.2, 0.1, 0.3, n=5),
            "Too few to say whether Ditto is better than FedAvg: 5 patients were tested with both.",
        ),
        (
            difference(0.2, 0.1, 0.3, n=1),
            "Too few to say whether Ditto is better than FedAvg: 1 patient was tested with both.",
        ),
        ({}, "Too few patients were tested with both Ditto and FedAvg to say which is better."),
    ],
)
def test_a_rival_that_was_tested_with_too_few_of_the_patients_is_said_to_be(
    beside: dict[str, Any], expected: str
) -> None:
    found = compared(beside)
    found["league"].append({**row("prox", 0.1, None), "title": "FedProx"})
    found["evaluation"]["prox"] = model(0.8)
    found["differences"]["prox"] = difference(0.1, 0.05, 0.15)
    said = comparison(run_results(**found))
    assert said[0] == expected
    assert said[1].startswith("FedProx finds lesions worse than FedAvg (")


def test_a_run_of_one_strategy_compares_none() -> None:
    results = run_results(**metrics(local=difference(0.1, 0.0, 0.2)))
    assert (comparison(results), rivals(results)) == ([], [])
