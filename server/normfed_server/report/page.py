"""Put the page together."""

from __future__ import annotations

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
from normfed_server.results import layout
from normfed_server.results.layout import Difference, Differences, Figure, LeagueRow, ModelFigures, RunResults
from normfed_server.results.metrics import UNSEEN
from normfed_server.runs.folder import Run

AUROC, PRECISION = "auroc", "auprc"  # what the findings speak of
FEWEST_PATIENTS = 6  # with fewer no paired test can tell two models apart, and an interval of so few says nothing


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
    results = layout.read(run.folder)
    shown = main_models(results)
    main = [name for name, metric in results.metrics.items() if "table" in metric.shown]
    environment = Environment(loader=PackageLoader("normfed_server.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters["figure"] = _figure
    environment.filters["number"] = _number
    environment.filters["signed"] = _signed
    environment.filters["spread"] = lambda figure: trainings_spread(figure, " ± {:.3f}")
    environment.filters["p_value"] = _p_value
    page = environment.get_template("report.html.jinja").render(
        run=run,
        results=results,
        models=shown,
        strategy=ALGORITHMS[run.study.strategy["name"]],
        warnings=warnings(results, patients.attacks),
        notes=note_sentences(results),
        moments=results.intervals == "moments",
        league=results.league if len(results.league) > 1 else (),
        league_gains=figures.league_gains(results) if _several_strategies(results) else "",
        league_sites=figures.league_sites(results) if _several_strategies(results) else "",
        participation=participation.tables(results),
        hospital_times=figures.hospital_times(results.rounds, results.hospital_time.median_s)
        if results.hospital_time
        else "",
        sentences=sentences(results),
        left_out=patients.left_out,
        labels={name: metric.title for name, metric in results.metrics.items()},
        ranked=[name for name, metric in results.metrics.items() if "league" in metric.shown],
        main=[name for name in main if any(name in model.all for model in shown.values())],
        merged=[name for name in main if any(name in (model.merged or ()) for model in shown.values())],
        more=[name for name in results.metrics if name not in main],
        kinds=sorted({kind for model in shown.values() for kind in model.kinds}),
        significance=patients.significance,
        loss=figures.loss_curves(results) if results.rounds else "",
        per_site=figures.per_site(shown, results.metrics),
        gains=figures.gains(results.differences, list(shown), AUROC, results.metrics[AUROC].title)
        if results.differences
        else "",
        matrix=figures.matrix(results, AUROC),
        cases=patients.cases,
        study=plain_yaml.text(run.study.model_dump(mode="json")),
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        plotly=get_plotlyjs(),
    )
    path = run.folder / "report.html"
    write_text(path, page)
    return path


def main_models(results: RunResults) -> dict[str, ModelFigures]:
    """What the tables of results show: other strategies stand in the league table."""
    others = set(results.strategies) - {"federated"}
    return {name: model for name, model in results.evaluation.items() if name not in others}


def _several_strategies(results: RunResults) -> bool:
    strategies = [row for row in results.league if row.strategy]
    return len(strategies) > 1 and all(row.gain_over_local for row in strategies)


def sentences(results: RunResults) -> list[str]:
    """The findings in words: only what the figures say."""
    models = main_models(results)
    return [
        *_federated(models["federated"], results.differences),
        *_worst_sites(models),
        *_baseline(models, results.differences),
        *_best_strategy(results.league),
    ]


def _federated(ours: ModelFigures, differences: Mapping[str, Differences]) -> list[str]:
    """How good the model is, and beside the other ways to train it."""
    figure = ours.all.get(AUROC)
    if figure is None or figure.mean is None:
        return ["No site says an AUROC of the federated model."]
    found = [f"The federated model reaches a mean AUROC of {_number(figure.mean)} over {figure.n} patients."]
    for name in ("pooled", "local"):
        difference = differences[name].all.get(AUROC) if name in differences else None
        if difference is not None and difference.mean is not None:
            found.append(_compared(name, difference.mean, *_interval(difference, figure.n)))
    return found


def _worst_sites(models: Mapping[str, ModelFigures]) -> list[str]:
    ours, local = (models[name].worst_site.get(AUROC) if name in models else None for name in ("federated", "local"))
    if ours is None or local is None:
        return []
    return [
        f"At its worst site ({ours.site}) it reaches {_number(ours.mean)}; "
        f"local-only training at its own worst ({local.site}) {_number(local.mean)}."
    ]


def _baseline(models: Mapping[str, ModelFigures], differences: Mapping[str, Differences]) -> list[str]:
    """The best model, where it is a trivial one."""
    found = {name: model.all[PRECISION] for name, model in models.items() if PRECISION in model.all}
    means = {name: figure.mean for name, figure in found.items() if figure.mean is not None}
    best = max(means, key=lambda name: means[name], default="federated")
    if best in ("federated", "pooled", "local", UNSEEN) or "federated" not in means:
        return []
    difference = differences[best].all.get(PRECISION) if best in differences else None
    _, high = _interval(difference, found["federated"].n)
    verdict = "better" if high is not None and high < 0 else "not distinguishable from it"
    against = f"average precision {_number(means[best])} against {_number(means['federated'])}"
    return [f"The trivial baseline {best} is {verdict}: {against}."]


def _best_strategy(league: Sequence[LeagueRow]) -> list[str]:
    strategies = [row for row in league if row.strategy]
    if len(strategies) < 2 or strategies[0].figures[PRECISION].mean is None:
        return []
    best = strategies[0]
    figures_of_best = f"{_number(best.figures[PRECISION].mean)}, AUROC {_number(best.figures[AUROC].mean)}"
    text = f"Of {len(strategies)} strategies {best.name} has the best average precision ({figures_of_best})"
    text += ", picked on these very patients, so expect less on others"
    if best.gain_over_local is None:
        return [f"{text}."]
    gain = best.gain_over_local[AUROC]
    return [
        f"{text}; against training alone {len(gain.gain)} of {len(gain.sites)} sites gain in AUROC beyond their "
        f"interval, {len(gain.lose)} lose."
    ]


def _interval(difference: Difference | None, patients: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a difference; none where nothing may be called better."""
    if difference is None or patients < FEWEST_PATIENTS:
        return None, None
    return difference.ci95


def _compared(name: str, mean: float, low: float | None, high: float | None) -> str:
    what = {"pooled": "training on all scans in one place", "local": "every site training alone"}[name]
    if low is None or high is None:
        return f"It is not distinguishable from {what}: AUROC {mean:+.3f}."
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    return f"It is {verdict} {what}: AUROC {mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f})."


def _figure(figure: Figure | None) -> Markup:
    if figure is None or figure.mean is None:
        return Markup("–")
    spread = Markup('<br><span class="soft">± {}</span>').format(_number(figure.sd))
    return Markup(_number(figure.mean)) + (spread if figure.sd is not None else "")


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
