"""Put the page together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_text
from normfed_server.report import figures, participation
from normfed_server.report.words import note_sentences, trainings_spread, warnings
from normfed_server.results.metrics import UNSEEN
from normfed_server.runs.folder import Run

MAIN = ("auroc", "auroc30", "auprc", "aupro", "aupro30", "best_dice", "dice", "surface_dice", "image_auroc")
FEWEST_PATIENTS = 6  # with fewer no paired test can tell two models apart, and an interval of so few says nothing
MORE = ("auroc30_mcclish", "lesion_sensitivity", "cluster_rank", "false_clusters", "froc", "conformal_p")


@dataclass(frozen=True)
class Patients:
    """What only whoever may open the sites' own folders can show: a simulation.

    Parameters
    ----------
    cases
        Single patients, with pictures.
    significance
        Model to the p-value of its difference to the federated one, paired by patient.
    left_out
        Who was left out, and why.
    attacks
        Malicious sites, and what each does.
    """

    cases: Sequence[Any] = ()
    significance: Mapping[str, float] = field(default_factory=dict)
    left_out: Sequence[tuple[str, str]] = ()
    attacks: Mapping[str, str] = field(default_factory=dict)


def write_report(run: Run, patients: Patients = Patients()) -> Path:
    """Write report.html.

    Raises
    ------
    RunError
        If the run is not finished.
    """
    if not run.finished:
        raise RunError(f"{run.folder}: not finished, so there is nothing to report. Finish the run first.")
    metrics = json.loads((run.folder / "metrics.json").read_text())
    shown = main_models(metrics)
    environment = Environment(loader=PackageLoader("normfed_server.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters["figure"] = _figure
    environment.filters["number"] = _number
    environment.filters["signed"] = _signed
    environment.filters["spread"] = lambda figure: trainings_spread(figure, " ± {:.3f}")
    environment.filters["p_value"] = _p_value
    page = environment.get_template("report.html.jinja").render(
        run=run,
        metrics=metrics,
        models=shown,
        strategy=ALGORITHMS[run.study.strategy["name"]],
        warnings=warnings(metrics, patients.attacks),
        notes=note_sentences(metrics),
        moments=metrics.get("intervals") == "moments",
        league=metrics["league"] if len(metrics["league"]) > 1 else [],
        league_gains=figures.league_gains(metrics) if _several_strategies(metrics) else "",
        league_sites=figures.league_sites(metrics) if _several_strategies(metrics) else "",
        participation=participation.tables(metrics),
        hospital_times=figures.hospital_times(metrics) if metrics["hospital_time"] else "",
        sentences=sentences(metrics),
        left_out=patients.left_out,
        labels=figures.LABELS,
        main=[m for m in MAIN if any(m in model["all"] for model in shown.values())],
        more=MORE,
        kinds=sorted({kind for model in shown.values() for kind in model["kinds"]}),
        significance=patients.significance,
        loss=figures.loss_curves(metrics) if metrics["rounds"] else "",
        per_site=figures.per_site(shown),
        gains=figures.gains(metrics["differences"], list(shown), "auroc") if metrics["differences"] else "",
        matrix=figures.matrix(metrics, "auroc"),
        cases=patients.cases,
        study=plain_yaml.text(run.study.model_dump(mode="json")),
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        plotly=get_plotlyjs(),
    )
    path = run.folder / "report.html"
    write_text(path, page)
    return path


def main_models(metrics: dict[str, Any]) -> dict[str, Any]:
    """What the tables of results show: other strategies stand in the league table."""
    others = set(metrics["strategies"]) - {"federated"}
    return {name: model for name, model in metrics["evaluation"].items() if name not in others}


def _several_strategies(metrics: dict[str, Any]) -> bool:
    strategies = [row for row in metrics["league"] if row["strategy"]]
    return len(strategies) > 1 and all(row["gain_over_local"] for row in strategies)


def sentences(metrics: dict[str, Any]) -> list[str]:
    """The findings in words: only what the figures say."""
    models = main_models(metrics)
    ours = models["federated"]["all"]["auroc"]
    found = [f"The federated model reaches a mean AUROC of {_number(ours['mean'])} over {ours['n']} patients."]
    for name in ("pooled", "local"):
        difference = metrics["differences"].get(name, {}).get("all", {}).get("auroc")
        if difference:
            found.append(_compared(name, difference["mean"], *_interval(difference, ours["n"])))
    worst = {name: model["worst_site"].get("auroc") for name, model in models.items()}
    if worst.get("local") and worst.get("federated"):
        ours_worst, local_worst = worst["federated"], worst["local"]
        found.append(
            f"At its worst site ({ours_worst['site']}) it reaches {_number(ours_worst['mean'])}; "
            f"local-only training at its own worst ({local_worst['site']}) {_number(local_worst['mean'])}."
        )
    best = max(models, key=lambda name: models[name]["all"]["auprc"]["mean"])
    if best not in ("federated", "pooled", "local", UNSEEN):
        value = models[best]["all"]["auprc"]["mean"]
        ours_ap = models["federated"]["all"]["auprc"]["mean"]
        difference = metrics["differences"].get(best, {}).get("all", {}).get("auprc")
        _, high = _interval(difference, models["federated"]["all"]["auprc"]["n"])
        verdict = "better" if high is not None and high < 0 else "not distinguishable from it"
        found.append(
            f"The trivial baseline {best} is {verdict}: average precision {_number(value)} against {_number(ours_ap)}."
        )
    return found + _best_strategy(metrics["league"])


def _best_strategy(league: list[dict[str, Any]]) -> list[str]:
    strategies = [row for row in league if row["strategy"]]
    if len(strategies) < 2:
        return []
    best, gain = strategies[0], strategies[0]["gain_over_local"]
    figures_of_best = f"{_number(best['auprc']['mean'])}, AUROC {_number(best['auroc']['mean'])}"
    text = f"Of {len(strategies)} strategies {best['name']} has the best average precision ({figures_of_best})"
    text += ", picked on these very patients, so expect less on others"
    if gain is None:
        return [f"{text}."]
    won, lost = len(gain["auroc"]["gain"]), len(gain["auroc"]["lose"])
    total = len(gain["auroc"]["sites"])
    return [f"{text}; against training alone {won} of {total} sites gain in AUROC beyond their interval, {lost} lose."]


def _interval(difference: dict[str, Any] | None, patients: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a difference; none where nothing may be called better."""
    if difference is None or patients < FEWEST_PATIENTS:
        return None, None
    low, high = difference["ci95"]
    return low, high


def _compared(name: str, mean: float, low: float | None, high: float | None) -> str:
    what = {"pooled": "training on all scans in one place", "local": "every site training alone"}[name]
    if low is None or high is None:
        return f"It is not distinguishable from {what}: AUROC {mean:+.3f}."
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    return f"It is {verdict} {what}: AUROC {mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f})."


def _figure(figure: dict[str, Any] | None) -> Markup:
    if figure is None or figure["mean"] is None:
        return Markup("–")
    spread = Markup('<br><span class="soft">± {}</span>').format(_number(figure["sd"]))
    return Markup(_number(figure["mean"])) + (spread if figure.get("sd") is not None else "")


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _p_value(value: float) -> str:
    if value != value:
        return "not tested (fewer than six pairs)"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
