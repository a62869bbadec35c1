"""Put the page together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from plotly.offline import get_plotlyjs

from normfed_common import glossary
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_text
from normfed_common.study import withdrawn
from normfed_server.report import curves, figures, participation, promises
from normfed_server.report.ages import Ages
from normfed_server.report.cells import add_filters
from normfed_server.report.drowned import drowned
from normfed_server.report.findings import CONVERGED, sentences
from normfed_server.report.headline import headline, reasons_against
from normfed_server.report.held_out import conformal, threshold, unmeasured
from normfed_server.report.people import PatientRow, PicturedCase
from normfed_server.report.privacy import write_privacy
from normfed_server.report.provenance import provenance
from normfed_server.report.rendering import templates
from normfed_server.report.strategies import comparison, rivals
from normfed_server.report.verdicts import (
    OURS,
    SAME,
    SIGNIFICANT,
    TITLES,
    Verdict,
    enough,
    main_models,
    objection,
    same,
    title,
    verdicts_of,
)
from normfed_server.report.words import adapted_sentences, note_sentences, p_value, warnings
from normfed_server.results import influence, layout
from normfed_server.results.chance import chance, merged_chance
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import PRECISION, ModelFigures
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import REPORT, Run

T = TypeVar("T")


@dataclass(frozen=True)
class Patients:
    """What only whoever may open the sites' own folders can show: a simulation.

    Parameters
    ----------
    cases
        Single people, with pictures.
    people
        Every patient, with figures.
    touched
        Of all their lesions, those that one of the at most ten clusters of a scan touches, and how many there are.
    chance_by_kind
        Kind of lesion to the mean of its patients' shares of lesion.
    left_out
        Who was left out, and why.
    attacks
        Malicious sites, and what each does.
    device
        What computed; empty where only the hospitals know.
    ages
        Of those trained on and those tested.
    """

    cases: Sequence[PicturedCase] = ()
    people: Sequence[PatientRow] = ()
    touched: tuple[int, int] | None = None
    chance_by_kind: Mapping[str, float] = field(default_factory=dict)
    left_out: Sequence[tuple[str, str]] = ()
    attacks: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    ages: Ages = field(default_factory=Ages)


def write_report(run: Run, patients: Patients = Patients(), results: RunResults | None = None) -> Path:
    """Write report.html, and privacy.html beside it; returns the path of the first.

    Parameters
    ----------
    results
        With p-values, where single patients are known; None reads metrics.json, which has none.

    Raises
    ------
    RunError
        If the run is not finished.
    """
    if not run.finished:
        raise RunError(f"{run.folder}: not finished, so there is nothing to report. Finish the run first.")
    results = results or layout.read(run.folder)
    environment = templates()
    add_filters(environment)
    environment.filters["titled"] = results.title
    page = environment.get_template("report.html.jinja").render(
        run=run,
        results=results,
        **_said(run, results, patients),
        **_tables(results, patients),
        **_drawn(run, results),
        simulated=run.sites_file.exists(),
        cases=patients.cases,
        people=patients.people,
        touched=patients.touched,
        significance=_tested(results),
        left_out=patients.left_out,
        study=plain_yaml.text(run.study.model_dump(mode="json")),
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        plotly=get_plotlyjs(),
    )
    path = run.folder / REPORT
    write_text(path, page)
    write_privacy(run, results)
    return path


def _said(run: Run, results: RunResults, patients: Patients) -> dict[str, Any]:
    """Sentences and words."""
    return {
        "headline": headline(results),
        "comparison": comparison(results),
        "rivals": rivals(results) if comparison(results) else [],
        "own_strategy": ALGORITHMS[run.study.strategy["name"]].title,
        "refused": bool(reasons_against(results)),
        "sentences": sentences(results),
        "warnings": [
            *_withdrawn(run.folder),
            *warnings(results, patients.attacks),
            *patients.ages.sentences(),
            *drowned(results),
        ],
        "least_p": _least_p(results),
        "unmeasured": unmeasured(run.study, results),
        "conformal": conformal(results),
        "threshold": threshold(results),
        "notes": [*note_sentences(results), *adapted_sentences(run.study)],
        "privacy": promises.summary(results.privacy),
        "ours": title(results),
        "strategy": ALGORITHMS[run.study.strategy["name"]],
        "provenance": provenance(run, results, patients.device),
        "terms": glossary.TERMS,
        "term_of": glossary.by_metric(),
        "converged": CONVERGED,
        "fewest": FEWEST_PATIENTS,
    }


def _tables(results: RunResults, patients: Patients) -> dict[str, Any]:
    """What stands in rows and columns: models, and the metrics of each table that anything is known of."""
    shown = {name: model for name, model in main_models(results).items() if model.all or model.sites}
    main = [name for name, metric in results.metrics.items() if "table" in metric.shown]
    known = [name for name in results.metrics if any(_is_known(model, name) for model in shown.values())]
    return {
        "models": shown,
        "own": shown.get(OURS),
        "labels": {name: metric.title for name, metric in results.metrics.items()},
        "chance": partial(chance, results),
        "merged_chance": partial(merged_chance, results),
        "kind_chance": lambda metric, kind: (
            patients.chance_by_kind.get(kind) if metric == PRECISION else chance(results, metric)
        ),
        "chief": [name for name in known if "terminal" in results.metrics[name].shown],
        "ranked": [name for name in known if "league" in results.metrics[name].shown],
        "main": [name for name in known if name in main],
        "more": [name for name in known if name not in main],
        "merged": [name for name in main if any(_is_merged(model, name) for model in shown.values())],
        "trained": _trainings(shown),
        "calibrated": {
            name: model.calibration for name, model in main_models(results).items() if model.calibration is not None
        },
        "kinds": sorted({kind for model in shown.values() for kind in model.kinds}),
        "beside": _beside(results),
        "moments": results.intervals == "moments",
        "league": results.league if len(results.league) > 1 and (results.rounds or _many(results)) else (),
        "participation": participation.tables(results),
    }


def _drawn(run: Run, results: RunResults) -> dict[str, Any]:
    """Plots, by metric where there is one of each; an empty one is left out."""
    shown, compared = main_models(results), _several_strategies(results)
    found = curves.curves_of(run.folder, results, shown)
    titles = list(map(results.title, shown))
    by_metric = {metric: results.metrics[metric].title for metric in reversed(TITLES) if metric in results.metrics}
    return {
        "roc": curves.roc(found) if found else "",
        "precision_recall": curves.precision_recall(found) if found else "",
        "loss": figures.loss_curves(results) if _tells_losses(results) else "",
        "per_site": figures.per_site(_titled(results, shown), results.metrics) if shown else "",
        "gains": {
            title: figures.gains(_titled(results, results.differences), titles, metric, title)
            for metric, title in by_metric.items()
            if any(metric in found.all for found in results.differences.values())
        },
        "matrices": {title: drawn for metric, title in by_metric.items() if (drawn := figures.matrix(results, metric))},
        "league_gains": {title: figures.league_gains(results, metric) for metric, title in by_metric.items()}
        if compared
        else {},
        "league_sites": {title: figures.league_sites(results, metric) for metric, title in by_metric.items()}
        if compared
        else {},
        "hospital_times": figures.hospital_times(results.rounds, results.hospital_time.median_s)
        if results.hospital_time
        else "",
    }


def _is_known(model: ModelFigures, metric: str) -> bool:
    return metric in model.all and model.all[metric].mean is not None


def _is_merged(model: ModelFigures, metric: str) -> bool:
    return metric in (model.merged or {}) and (model.merged or {})[metric].value is not None


def _beside(results: RunResults) -> dict[str, str]:
    """Model to what the federated one is to it: ``tied``, or ``better by average precision, tied by AUROC``."""
    if OURS not in results.evaluation or not enough(results.evaluation[OURS].all, PRECISION):
        return dict.fromkeys(results.differences, f"fewer than {FEWEST_PATIENTS} patients: too few to say")
    said = {}
    for name, verdicts in verdicts_of(results).items():
        if verdicts and all(same(results.differences[name].all[metric]) for metric in verdicts):
            said[name] = SAME
            continue
        words = {metric: _with_objection(results, name, metric, found) for metric, found in reversed(verdicts.items())}
        each = [f"{word} by {TITLES[metric]}" for metric, word in words.items()]
        said[name] = next(iter(words.values())) if len(set(words.values())) == 1 else ", ".join(each)
    return said


def _with_objection(results: RunResults, name: str, metric: str, found: Verdict) -> str:
    """What is undecided, though the interval does not touch zero, has beside it what the paired test says."""
    but = objection(results.differences[name].all[metric], results.paired_test(name, metric))
    word = "undecided: too few" if found == "too few" else found
    return f"{word} ({but})" if but else word


def _tested(results: RunResults) -> dict[str, dict[str, float]]:
    """Metric to model to its p-value; without models of which no patient's figure differs: there is nothing to test."""
    found = {
        TITLES[metric]: {
            name: p
            for name, differences in results.differences.items()
            if (p := results.paired_p(name, metric)) is not None and not same(differences.all[metric])
        }
        for metric in reversed(TITLES)
    }
    return {metric: by_model for metric, by_model in found.items() if by_model}


def _least_p(results: RunResults) -> list[str]:
    """That patients are too few for the corrected test to tell any two models apart; nothing where they are enough."""
    tests = [results.paired_test(name, PRECISION) for name in _tested(results).get(TITLES[PRECISION], {})]
    least = min((test.least for test in tests if test is not None), default=0.0)
    if least < SIGNIFICANT:
        return []
    return [
        f"Of so few patients and {len(tests)} models compared the least corrected {p_value(least)}: too few for the "
        "test to tell any two apart."
    ]


def _trainings(shown: Mapping[str, ModelFigures]) -> dict[str, int]:
    """Model to how often it was trained."""
    return {
        name: max((len(found.means) for found in model.trainings.values()), default=1) for name, model in shown.items()
    }


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
    """Whether strategies can be compared by what they gain over training alone."""
    return _many(results) and all(row.gain_over_local for row in results.league if row.strategy)


def _many(results: RunResults) -> bool:
    return sum(row.strategy is not None for row in results.league) > 1
