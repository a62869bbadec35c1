"""The tables that a simulation ends with, whatever sites may not say."""

from __future__ import annotations

import io
import json
from typing import Any

from compared import difference, unseen
from rich.console import Console
from rich.table import Table
from run_results import run_results

from normfed_server.results.figures import Unseen
from normfed_simulation.commands.tables import league_table, models_table, unseen_table


def shown(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return out.getvalue()


def figure(mean: float | None, worst: dict[str, Any] | None) -> dict[str, Any]:
    interval = [None, None] if mean is None else [mean - 0.1, mean + 0.1]
    found = {"mean": mean, "ci95": interval, "worst_site": worst, "sd_over_sites": None, "sites": {}}
    return {**found, "trainings": [mean]}


def row(name: str, mean: float | None, worst: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "strategy": {"name": name},
        "sites": [],
        "not_served": {},
        "auroc": figure(mean, worst),
        "auprc": figure(mean, worst),
        "gain_over_local": None,
        "megabytes_per_round": 1.25,
        "seconds_per_round": None,
    }


def test_a_strategy_without_a_worst_site_has_a_dash() -> None:
    """No site may say its figures, as hospitals with few patients may not."""
    league = [row("ditto", 0.75, {"site": "b", "mean": 0.5}), row("fedbn", None, None)]
    lines = shown(league_table(run_results(league=league))).splitlines()
    ditto, fedbn = (next(line for line in lines if name in line).split() for name in ("ditto", "fedbn"))
    assert ditto == ["ditto", ".750", ".500", ".750", "–", "–", "1.25", "–"]
    assert fedbn == ["fedbn", "–", "–", "–", "–", "–", "1.25", "–"]


def test_a_model_without_a_figure_has_dashes_and_the_others_their_intervals() -> None:
    full = {"auroc": {"mean": 0.75, "sd": 0.1, "n": 9, "ci95": [0.5, 1.0]}}
    models = {
        "federated": {"sites": {}, "all": full, "kinds": {}, "worst_site": {"auroc": {"mean": 0.5, "site": "b"}}},
        "atlas": {"sites": {}, "all": {}, "kinds": {}, "worst_site": {}},
    }
    text = shown(models_table(run_results(evaluation=models, titles={"atlas": "atlas of age"})))
    assert "atlas of age" in text
    assert "AUROC" in text
    assert "average precision" in text
    lines = text.splitlines()
    federated, atlas = (next(at for at, line in enumerate(lines) if name in line) for name in models)
    assert lines[federated].split() == ["federated", ".750", "–", "–", ".500"]
    assert lines[federated + 1].split() == [".500–1.000", "b"]
    assert lines[atlas].count("–") == 4


def test_a_figure_over_fewer_than_six_patients_has_no_interval() -> None:
    for n, intervals in ((5, 0), (6, 1)):
        figures = {"auroc": {"mean": 0.75, "sd": 0.1, "n": n, "ci95": [0.5, 0.9]}}
        model = {"sites": {}, "all": figures, "kinds": {}, "worst_site": {}}
        text = shown(models_table(run_results(evaluation={"federated": model})))
        assert text.count(".500–.900") == intervals


def test_a_figure_above_ten_keeps_its_zero() -> None:
    """As a plug-in's metric in millimetres may have it."""
    figures = {"auroc": {"mean": 10.25, "sd": 1.0, "n": 9, "ci95": [-0.5, 20.5]}}
    model = {"sites": {}, "all": figures, "kinds": {}, "worst_site": {}}
    text = shown(models_table(run_results(evaluation={"federated": model})))
    assert "10.250" in text
    assert "-.500–20.500" in text


def test_chance_is_named_where_a_metric_has_one() -> None:
    chance = next(line for line in shown(models_table(run_results())).splitlines() if "chance" in line)
    assert chance.replace("│", "").split() == ["chance", ".500", "–", "–"]  # AUROC, average precision, best Dice
    assert "Chance: AUROC .500." in " ".join(shown(league_table(run_results())).split())
    known = run_results(lesion_share={"all": 0.032, "sites": {}})
    chance = next(line for line in shown(models_table(known)).splitlines() if "chance" in line)
    assert chance.replace("│", "").split() == ["chance", ".500", ".032", "–"]
    assert "Chance: AUROC .500, AP .032." in " ".join(shown(league_table(known)).split())


def test_hospitals_that_no_model_saw_have_both_differences_with_their_intervals() -> None:
    found = Unseen.model_validate_json(json.dumps(unseen(difference(0.1, 0.05, 0.15), difference(0.02, -0.01, 0.05))))
    lines = shown(unseen_table(found)).splitlines()
    at = next(at for at, line in enumerate(lines) if line.split()[:1] == ["a"])
    assert lines[at].split() == ["a", ".800", ".700", "+.100", ".750", "+.020"]
    assert lines[at + 1].split() == ["+.050", "+.150", "-.010", "+.050"]


def test_where_nothing_is_drawn_the_table_says_so_and_else_trainings_have_an_interval() -> None:
    full = {"auroc": {"mean": 0.75, "sd": 0.1, "n": 9, "ci95": [0.5, 1.0]}}
    model: dict[str, Any] = {"sites": {}, "all": full, "kinds": {}, "worst_site": {}}
    models = {"federated": model, "vae": model}

    def text(**said: Any) -> str:
        return " ".join(shown(models_table(run_results(**said))).split())

    assert "Nothing is drawn but in vae: every training" in text(evaluation=models, nothing_drawn=["federated"])
    assert "Nothing is drawn: every" in text(evaluation=models, nothing_drawn=["federated", "vae"])
    assert "every training" not in text(evaluation=models, nothing_drawn=["vae"])  # as with the noise of privacy
    trained = {"auroc": {"means": [0.7, 0.8], "mean": 0.75, "ci95": [0.1, 0.9]}}
    several = text(evaluation=models | {"vae": model | {"trainings": trained}}, nothing_drawn=["federated"])
    assert "tr. .100–.900" in several
    assert "over trainings" in several


def test_a_difference_that_no_patient_has_is_called_the_same() -> None:
    alike, apart = (unseen(difference(mean, mean, mean), difference(0.1, 0.0, 0.2)) for mean in (0.0, 0.1))
    same, other = (shown(unseen_table(Unseen.model_validate_json(json.dumps(found)))) for found in (alike, apart))
    assert same.count("the same") == 2  # over all, at a site
    assert "the same" not in other
    tiny = unseen(difference(-0.0001, -0.0004, 0.0004), difference(-0.0001, -0.0004, 0.0006))
    narrow = shown(unseen_table(Unseen.model_validate_json(json.dumps(tiny))))
    assert narrow.count("±.0005") == 2
    assert ".000 +.001" in narrow
    assert "-.000" not in narrow
    gain = {"mean": 0.0, "ci95": [0.0, 0.0], "n": 9, "sites": {}, "gain": [], "lose": []}
    line = {**row("ditto", 0.75, None), "gain_over_local": {"auroc": gain, "auprc": gain}}
    assert "the same" in shown(league_table(run_results(league=[line])))
