"""The frame of differences to the federated model, with what the report makes of each."""

from __future__ import annotations

import math
from typing import Any

import pytest
from compared import difference, metrics
from run_results import run_results

from normfed_common.metrics.subjects import PairedTest
from normfed_server.paper.gains import GAINS, gains
from normfed_server.results.layout import RunResults


def one(results: RunResults, **where: str) -> dict[str, Any]:
    """The only row with these values."""
    frame = gains(results)
    for column, value in where.items():
        frame = frame[frame[column] == value]
    (found,) = frame.to_dict("records")
    return found


def test_a_run_without_figures_still_has_every_column() -> None:
    found = gains(run_results())
    assert list(found) == list(GAINS)
    assert found.empty


def test_gains_know_how_many_patients_they_are_over() -> None:
    results = run_results(**metrics(local=difference(0.1, 0.05, None)))
    everybody = one(results, group="all", metric="auroc")
    assert (everybody["other"], everybody["name"], everybody["mean"], everybody["n"]) == ("local", "all", 0.1, 20)
    assert everybody["low"] == 0.05
    assert math.isnan(everybody["high"])
    assert one(results, group="site")["name"] == "a"
    found = metrics(local=difference(0.1, 0.05, 0.15))
    found["differences"]["local"]["all"]["auroc"]["n"] = 7  # the other model was tested on fewer
    assert one(run_results(**found), group="all", metric="auroc")["n"] == 7


@pytest.mark.parametrize(("p", "verdict"), [(0.062, "tied"), (0.01, "better")])
def test_over_all_patients_the_test_has_its_say_and_of_a_site_there_is_no_verdict(p: float, verdict: str) -> None:
    results = run_results(**metrics(local=difference(0.1, 0.05, 0.15)))
    results = results.tested({"auroc": {"local": PairedTest(p, 1)}})
    everybody, at_site = one(results, group="all", metric="auroc"), one(results, group="site")
    assert (everybody["p"], everybody["verdict"]) == (p, verdict)
    assert math.isnan(at_site["p"])
    assert at_site["verdict"] is None
    untested = one(results, group="all", metric="auprc")
    assert math.isnan(untested["p"])
    assert untested["verdict"] == "better"
