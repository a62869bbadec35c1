"""LaTeX tables of people, of made-up runs whose counts are at hand."""

from __future__ import annotations

from typing import Any

import pytest
from compared import calibration, metrics
from run_results import run_results

from normfed_server.paper.tables_of_people import calibration as false_positives
from normfed_server.paper.tables_of_people import cohorts, participation


def site(name: str, train: int | None, held_out: int, test: int, *kinds: str) -> dict[str, Any]:
    return {"name": name, "train": train, "held_out": held_out, "test": test, "kinds": list(kinds)}


def test_people_are_added_up_where_every_site_says_how_many() -> None:
    sites = [site("a_b", 9, 2, 3, "MS", "WMH"), site("c", 7, 1, 0)]
    table = cohorts(run_results(sites=sites, trained=["c"]))
    assert table.rows == [
        [r"a\_b", "9", "2", "3", "MS, WMH", "no"],
        ["c", "7", "1", "0", "--", "yes"],
        ["all", "16", "3", "3", "", ""],
    ]


def test_nothing_is_added_up_where_a_site_does_not_say_or_is_alone() -> None:
    silent = cohorts(run_results(sites=[site("a", None, 2, 3), site("b", 7, 1, 0)]))
    assert [row[0] for row in silent.rows] == ["a", "b"]
    assert silent.rows[0][1] == "--"
    assert len(cohorts(run_results(sites=[site("a", 9, 2, 3)])).rows) == 1


def test_rounds_weights_and_the_median_round_of_a_site() -> None:
    rounds = [
        {"round": 1, "outcomes": {"a": "took part"}, "shares": {"a": 0.5}, "site_seconds": {"a": 9.0}},
        {"round": 2, "outcomes": {"a": "late", "b": "took part"}, "shares": {"b": 1.0}, "site_seconds": {"b": 2.0}},
        {"round": 3, "outcomes": {"a": "took part"}, "shares": {"a": 0.25}, "site_seconds": {"a": 1.0}},
        {"round": 4, "outcomes": {"a": "took part"}, "shares": {"a": 0.75}, "site_seconds": {"a": 3.0}},
    ]
    assert participation(run_results(rounds)).rows == [
        ["a", "3 of 4", "late (1)", r"50\,\%", "3.0"],
        ["b", "1 of 4", "--", r"100\,\%", "2.0"],
    ]


@pytest.mark.parametrize(("measured", "shown"), [(0.03, r"3\,\%"), (None, "--")])
def test_promised_and_measured_false_positives_of_every_model(measured: float | None, shown: str) -> None:
    found = metrics(atlas=None)
    for name in found["evaluation"]:
        found["evaluation"][name] |= {"merged": {}, "calibration": calibration(measured, a=3, b=4)}
    rows = false_positives(run_results(**found)).rows
    assert rows == [[name, r"2\,\%", shown, shown, "7"] for name in ("federated", "atlas")]
