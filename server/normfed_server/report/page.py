"""Put the page together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_text
from normfed_common.study import withdrawn
from normfed_server.report import figures, participation, promises
from normfed_server.report.drowned import drowned
from normfed_server.report.findings import CONVERGED, main_models, sentences
from normfed_server.report.lesions import AUROC
from normfed_server.report.privacy import write_privacy
from normfed_server.report.rendering import templates
from normfed_server.report.words import (
    adapted_sentences,
    interval,
    note_sentences,
    number,
    percent,
    rate,
    signed,
    trainings_spread,
    warnings,
)
from normfed_server.results import influence, layout
from normfed_server.results.layout import Figure, RunResults
from normfed_server.runs.folder import REPORT, Run

T = TypeVar("T")


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
    """Write report.html, and privacy.html beside it; returns the path of the first.

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
    environment = templates()
    environment.filters["figure"] = _figure
    environment.filters["number"] = number
    environment.filters["signed"] = signed
    environment.filters["interval"] = interval
    environment.filters["spread"] = lambda figure: trainings_spread(figure, " ± {:.3f}")
    environment.filters["titled"] = results.title
    environment.filters["p_value"] = _p_value
    environment.filters["rate"] = rate
    environment.filters["percent"] = percent
    page = environment.get_template("report.html.jinja").render(
        run=run,
        results=results,
        models=shown,
        strategy=ALGORITHMS[run.study.strategy["name"]],
        warnings=[
            *_withdrawn(run.folder),
            *warnings(results, patients.attacks),
            *drowned(results),
        ],
        notes=[*note_sentences(results), *adapted_sentences(run.study)],
        moments=results.intervals == "moments",
        league=results.league if len(results.league) > 1 else (),
        league_gains=figures.league_gains(results) if _several_strategies(results) else "",
        league_sites=figures.league_sites(results) if _several_strategies(results) else "",
        participation=participation.tables(results),
        hospital_times=figures.hospital_times(results.rounds, results.hospital_time.median_s)
        if results.hospital_time
        else "",
        sentences=sentences(results),
        privacy=promises.summary(results.privacy),
        converged=CONVERGED,
        left_out=patients.left_out,
        chances={name: metric.chance for name, metric in results.metrics.items()},
        labels={name: metric.title for name, metric in results.metrics.items()},
        chief=[name for name, metric in results.metrics.items() if "terminal" in metric.shown],
        trained={
            name: max((len(found.means) for found in model.trainings.values()), default=1)
            for name, model in shown.items()
        },
        ranked=[name for name, metric in results.metrics.items() if "league" in metric.shown],
        main=[name for name in main if any(name in model.all for model in shown.values())],
        calibrated={name: model.calibration for name, model in shown.items() if model.calibration is not None},
        merged=[name for name in main if any(name in (model.merged or ()) for model in shown.values())],
        more=[name for name in results.metrics if name not in main],
        kinds=sorted({kind for model in shown.values() for kind in model.kinds}),
        significance=patients.significance,
        loss=figures.loss_curves(results) if _tells_losses(results) else "",
        per_site=figures.per_site(_titled(results, shown), results.metrics),
        gains=figures.gains(
            _titled(results, results.differences), list(map(results.title, shown)), AUROC, results.metrics[AUROC].title
        )
        if results.differences
        else "",
        matrix=figures.matrix(results, AUROC),
        cases=patients.cases,
        study=plain_yaml.text(run.study.model_dump(mode="json")),
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        plotly=get_plotlyjs(),
    )
    path = run.folder / REPORT
    write_text(path, page)
    write_privacy(run, results)
    return path


def _withdrawn(folder: Path) -> list[str]:
    """Who withdrew, and how much of the model is theirs; nothing where nobody did."""
    said = withdrawn.read(folder).sentences(), influence.sentences(folder)
    return [" ".join(sentences) for sentences in said if sentences]


def _tells_losses(results: RunResults) -> bool:
    """Whether a site said any; where people are protected none does."""
    return any(loss is not None for entry in results.rounds for loss in entry.loss.values())


def _titled(results: RunResults, by_model: Mapping[str, T]) -> dict[str, T]:
    """The same by what people read of a model."""
    return {results.title(name): found for name, found in by_model.items()}


def _several_strategies(results: RunResults) -> bool:
    strategies = [row for row in results.league if row.strategy]
    return len(strategies) > 1 and all(row.gain_over_local for row in strategies)


def _figure(figure: Figure | None) -> Markup:
    if figure is None or figure.mean is None:
        return Markup("–")
    spread = Markup('<br><span class="soft">± {}</span>').format(number(figure.sd))
    return Markup(number(figure.mean)) + (spread if figure.sd is not None else "")


def _p_value(value: float) -> str:
    if value != value:
        return "not tested (fewer than six pairs)"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
