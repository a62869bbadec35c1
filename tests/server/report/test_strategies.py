"""What strategies are to the study's own: the headline of a comparison, from made-up figures."""

from __future__ import annotations

from typing import Any

import pytest
from compared import difference, metrics, model, row
from run_results import run_results

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


def test_a_run_of_one_strategy_compares_none() -> None:
    results = run_results(**metrics(local=difference(0.1, 0.0, 0.2)))
    assert (comparison(results), rivals(results)) == ([], [])
