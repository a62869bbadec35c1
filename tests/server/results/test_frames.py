"""Frames of made-up runs, whose figures stand in the test."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from compared import GAIN, calibration, metrics, model, row
from run_results import run_results

from normfed_server.results import frames
from normfed_server.results.layout import RunResults

FRAMES: dict[Callable[[RunResults], pd.DataFrame], frames.Columns] = {
    frames.models: frames.MODELS,
    frames.sites: frames.SITES,
    frames.kinds: frames.KINDS,
    frames.rounds: frames.ROUNDS,
    frames.matrix: frames.MATRIX,
    frames.calibration: frames.CALIBRATION,
    frames.cohorts: frames.COHORTS,
}
ROUND: dict[str, Any] = {
    "round": 2,
    "loss": {"a": 0.5, "b": None},
    "seconds": 9.0,
    "outcomes": {"a": "took part", "b": "took part", "c": "late"},
    "reasons": {"c": "it was slow"},
    "shares": {"a": 0.75, "b": 0.25},
    "site_seconds": {"a": 4.0},
    "megabytes": {"out": 3.0, "back": 1.5},
}


def one(frame: pd.DataFrame, **where: str) -> dict[str, Any]:
    """The only row with these values."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    (found,) = frame.to_dict("records")
    return found


@pytest.mark.parametrize(("frame", "columns"), FRAMES.items())
def test_a_run_without_figures_still_has_every_column_and_its_type(
    frame: Callable[[RunResults], pd.DataFrame], columns: frames.Columns
) -> None:
    found = frame(run_results())
    assert list(found) == list(columns)
    assert found.empty
    kinds = {float: "float64", int: "int64", str: "object", bool: "bool"}
    assert {name: str(kind) for name, kind in found.dtypes.items()} == {n: kinds[c[0]] for n, c in columns.items()}


def test_models_have_chance_the_worst_site_and_what_trainings_say_beside_their_mean() -> None:
    trained = {"auprc": {"means": [0.2, 0.4], "mean": 0.3, "ci95": [0.1, 0.5]}}
    merged = {"merged": {"auroc": {"value": 0.7, "low": 0.6, "high": 0.8}}, "threshold": {"value": 1.0, "from": "x"}}
    share = {"all": 0.03, "sites": {"a": 0.05}}
    of_model = {**model(0.9), "trainings": trained, **merged}
    results = run_results(evaluation={"federated": of_model}, lesion_share=share)
    found = frames.models(results)
    assert set(frames.models(run_results(evaluation={"local": model(0.9)}))["title"]) == {"each site alone"}
    auroc, precision = (one(found, metric=metric) for metric in ("auroc", "auprc"))
    assert (auroc["mean"], auroc["sd"], auroc["n"], auroc["low"]) == (0.9, 0.1, 20, 0.85)
    assert (auroc["chance"], auroc["worst"], auroc["worst_site"], auroc["trainings"]) == (0.5, 0.8, "b", 1)
    assert (auroc["merged"], auroc["merged_low"], auroc["merged_high"]) == (0.7, 0.6, 0.8)
    assert (precision["trainings"], precision["trainings_low"], precision["trainings_high"]) == (2, 0.1, 0.5)
    assert precision["chance"] == 0.03
    assert one(frames.sites(results), site="a", metric="auprc")["chance"] == 0.05
    assert math.isnan(precision["merged"])


def test_sites_and_kinds_are_a_row_each_and_what_no_site_may_tell_is_no_number() -> None:
    silent = {"auroc": {"mean": None, "sd": None, "n": 0}}
    found = run_results(evaluation={"atlas": {**model(0.6), "kinds": {"MS": silent}}})
    assert one(frames.sites(found), site="a", metric="auprc")["mean"] == 0.2
    assert math.isnan(one(frames.kinds(found), kind="MS", metric="auroc")["mean"])


def test_rounds_are_a_row_for_every_site_that_was_asked_and_every_model() -> None:
    found = frames.rounds(run_results([ROUND], rounds_of={"pooled": [{"loss": {"pooled": 0.25}}]}))
    took_part, silent, late = (one(found, site=site) for site in "abc")
    assert (took_part["model"], took_part["round"], took_part["loss"], took_part["share"]) == (
        "federated",
        2,
        0.5,
        0.75,
    )
    assert (took_part["seconds"], took_part["round_seconds"]) == (4.0, 9.0)
    assert (took_part["megabytes_out"], took_part["megabytes_back"]) == (3.0, 1.5)
    assert math.isnan(silent["loss"])
    assert (late["outcome"], late["reason"], took_part["reason"]) == ("late", "it was slow", None)
    assert one(found, model="pooled")["loss"] == 0.25


def test_the_matrix_is_a_row_a_pair_of_sites() -> None:
    found = frames.matrix(run_results(matrix={"auroc": {"a": {"a": 0.9, "b": 0.7}, "b": {"a": None, "b": 0.8}}}))
    assert one(found, trained="a", tested="b")["mean"] == 0.7
    assert len(found) == 4


def test_calibration_has_all_sites_together_first() -> None:
    found = frames.calibration(
        run_results(evaluation={"federated": {**model(0.9), "calibration": calibration(0.03, 0.01, a=4, b=5)}})
    )
    assert list(found["site"]) == ["all", "a", "b"]
    assert list(found["people"]) == [9, 4, 5]
    assert one(found, site="all") | {"site": ""} == {
        "model": "federated",
        "site": "",
        "people": 9,
        "promised": 0.02,
        "measured": 0.03,
        "low": 0.01,
        "high": 0.03,
    }
    unmeasured = frames.calibration(
        run_results(evaluation={"federated": {**model(0.9), "calibration": calibration(None)}})
    )
    assert math.isnan(one(unmeasured, site="all")["measured"])


def test_cohorts_say_who_trains_and_who_was_left_out() -> None:
    found = frames.cohorts(run_results(**metrics(), trained=["a"], left_out={"z": "has nobody to train on"}))
    site, absent = one(found, site="a"), one(found, site="z")
    assert (site["train"], site["held_out"], site["kinds"], site["trains"]) == (9, 2, "MS", True)
    assert math.isnan(site["test"])
    assert (absent["trains"], absent["left_out"]) == (False, "has nobody to train on")


def test_the_league_is_a_row_a_strategy_with_every_metric_in_columns() -> None:
    found = frames.league(run_results(league=[row("fedavg", 0.4, GAIN), row("local", 0.3, None)]))
    first, anchor = one(found, model="fedavg"), one(found, model="local")
    assert (first["auprc"], first["auprc_low"], first["auprc_high"], first["auroc"]) == (0.4, 0, 1, 0.75)
    assert (first["auprc_worst"], first["auprc_worst_site"]) == (0.1, "a")
    assert (first["auprc_gain"], first["auprc_gain_low"], first["auprc_gain_high"]) == (0.1, 0.05, 0.15)
    assert (first["auprc_sites_gaining"], first["auprc_sites_losing"]) == (2, 1)
    assert (first["megabytes_per_round"], first["seconds_per_round"]) == (1.0, 2.0)
    assert math.isnan(anchor["auprc_gain"])
