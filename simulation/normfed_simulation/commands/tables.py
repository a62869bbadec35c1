"""The tables that a simulation ends with; the report has more."""

from __future__ import annotations

import re
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from normfed_server.report.verdicts import OURS, SAME, same, unnoticed
from normfed_server.report.words import small, trainings_spread
from normfed_server.results.chance import chance
from normfed_server.results.figures import AUROC, PRECISION, Difference, Figure, Gains, Interval, Trainings, Unseen
from normfed_server.results.layout import RunResults
from normfed_server.results.league import SHOWN
from normfed_server.results.models import UNSEEN

BARE_ZERO = re.compile(r"\b0\.")  # the one before the point, and not that of 10.5
NARROWLY = f"±{SHOWN:g}".replace("0.", ".")  # an interval that is zero at both ends in the digits of tables
BELOW, BESIDE = "\n[dim]{}[/]", " [dim]({})[/]"  # where an interval stands
NARROW: dict[str, Any] = {
    "title_justify": "left",
    "caption_justify": "left",
    "box": SIMPLE_HEAD,
    "padding": (0, 1, 0, 0),
}


def models_table(results: RunResults) -> Table:
    """Every model's figures over all patients, narrow enough for 80 columns."""
    table = Table(title="Mean over patients [dim](95 % interval below)[/]; the worst site on the right", **NARROW)
    shown = {name: metric.title for name, metric in results.metrics.items() if "terminal" in metric.shown}
    table.add_column("", overflow="fold", min_width=len(UNSEEN))
    for title in (*shown.values(), "worst site's AUROC"):
        table.add_column(title, justify="right")
    table.add_row("chance", *(_chance(chance(results, metric)) for metric in shown), style="dim")
    for name, model in results.evaluation.items():
        worst = model.worst_site.get(AUROC)
        cells = [_cell(model.all.get(metric), model.trainings.get(metric)) for metric in shown]
        where = f"{_short(worst.mean)}\n[dim]{worst.site}[/]" if worst else "–"
        table.add_row(results.title(name), *cells, where, style="bold" if name == OURS else "")
    if any(model.trainings for model in results.evaluation.values()):
        table.caption = "tr.: 95 % interval over trainings."
    elif OURS in results.nothing_drawn:
        others = [results.title(name) for name in results.evaluation if name not in results.nothing_drawn]
        table.caption = f"Nothing is drawn{' but in ' + ', '.join(others) if others else ''}: "
        table.caption += "every training gives this same model."
    return table


def unseen_table(unseen: Unseen) -> Table:
    """At hospitals that models never saw: the federation's beside the others' own, by average precision."""
    title = "At a hospital that the model never saw: average precision [dim](95 %)[/]"
    table = Table(title=title, **NARROW)
    for column in ("", "federation", "others", "difference", "their best", "difference"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for place, figures in {"all": unseen.all, **unseen.sites}.items():
        if PRECISION in figures:
            found = figures[PRECISION]
            mean, best = (_difference(over, BELOW) for over in (found.over_borrowed, found.over_best))
            cells = (_short(found.unseen), _short(found.borrowed), mean, _short(found.best), best)
            table.add_row(place, *cells, style="bold" if place == "all" else "")
    table.caption = "others: the mean of all other hospitals' own models. Their best is picked on these very "
    table.caption += "patients, which favours it."
    return table


def league_table(results: RunResults) -> Table:
    """Strategies beside each other, narrow enough for 80 columns."""
    title = "League table, by average precision (AP)"
    table = Table(title=title, **NARROW)
    for column in ("", "AUROC", "worst", "AP", "gain [dim](95 %)[/]", "+/-", "MB", "s"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for row in results.league:
        auroc = row.figures[AUROC]
        gained = row.gain_over_local[PRECISION] if row.gain_over_local else None
        table.add_row(
            str(row.strategy["name"]) if row.name == OURS and row.strategy else row.name,
            _short(auroc.mean) + trainings_spread(auroc, " [dim]±{:.3f}[/]").replace("0.", "."),
            _short(auroc.worst_site.mean if auroc.worst_site else None),
            _short(row.figures[PRECISION].mean),
            _difference(gained, BESIDE) if gained else "–",
            f"{len(gained.gain)}/{len(gained.lose)}" if gained else "–",
            f"{row.megabytes_per_round:.2f}" if row.megabytes_per_round else "–",
            f"{row.seconds_per_round:.1f}" if row.seconds_per_round is not None else "–",
        )
    table.caption = "gain: in AP, over each site training alone; +/-: sites that gain/lose beyond their interval. "
    table.caption += "worst: AUROC at the worst site. MB, s: of a round, over all its sites. Chance: AUROC "
    share = chance(results, PRECISION)
    table.caption += f"{_chance(chance(results, AUROC))}{'' if share is None else f', AP {_chance(share)}'}."
    if any(len(row.figures[AUROC].trainings) > 1 for row in results.league):
        table.caption += " ±: sd over trainings."
    return table


def _difference(found: Difference | Gains, around: str) -> str:
    """With its interval, which ``around`` says the place of."""
    if same(found):
        return SAME
    if unnoticed(found):
        return ".000" + around.format(NARROWLY)
    low, high = found.ci95
    interval = around.format(f"{_short(low, '+')} {_short(high, '+')}") if low is not None else ""
    return _short(found.mean, "+") + interval


def _short(value: float | None, sign: str = "") -> str:
    """Three decimals without the zero before them; a zero has no sign."""
    if value is None:
        return "–"
    text = BARE_ZERO.sub(".", f"{value:{sign}.3f}")
    return text if float(text) else text.lstrip("+-")


def _chance(share: float | None) -> str:
    return "–" if share is None else BARE_ZERO.sub(".", small(share))


def _cell(figure: Figure | None, trained: Trainings | None = None) -> str:
    if figure is None or figure.mean is None:
        return "–"
    text = _short(figure.mean) + _interval("", figure.ci95)
    return text if trained is None else text + _interval("tr. ", trained.ci95)


def _interval(what: str, ends: Interval | None) -> str:
    """On a line of its own."""
    low, high = ends or (None, None)
    return "" if low is None or high is None else f"\n[dim]{what}{_short(low)}–{_short(high)}[/]"
