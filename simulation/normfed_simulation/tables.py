"""The tables that a simulation ends with; the report has more."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from normfed_server.report.words import trainings_spread
from normfed_server.results.layout import Figure, Gains, RunResults

AUROC, PRECISION = "auroc", "auprc"


def models_table(results: RunResults) -> Table:
    """Every model's figures over all patients."""
    table = Table(title="Mean over patients [dim](95 % interval)[/]; the worst site on the right", title_justify="left")
    shown = {name: metric.title for name, metric in results.metrics.items() if "terminal" in metric.shown}
    for column in ("model", *shown.values(), "worst site's AUROC"):
        table.add_column(column, justify="left" if column == "model" else "right")
    chances = [results.metrics[metric].chance for metric in shown]
    table.add_row("chance", *(f"{chance:g}" if chance is not None else "–" for chance in chances), style="dim")
    for name, model in results.evaluation.items():
        worst = model.worst_site.get(AUROC)
        cells = [_cell(model.all.get(metric)) for metric in shown]
        where = f"{_number(worst.mean)} {worst.site}" if worst else "–"
        table.add_row(name, *cells, where, style="bold" if name == "federated" else "")
    return table


def league_table(results: RunResults) -> Table:
    """Strategies beside each other, narrow enough for 80 columns."""
    title = "League table, by average precision (AP)"
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("", "AUROC", "worst", "AP", "gain [dim](95 %)[/]", "+/-", "MB", "s"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for row in results.league:
        auroc = row.figures[AUROC]
        gained = row.gain_over_local[AUROC] if row.gain_over_local else None
        table.add_row(
            row.name,
            _short(auroc.mean) + trainings_spread(auroc, " [dim]±{:.3f}[/]").replace("0.", "."),
            _short(auroc.worst_site.mean if auroc.worst_site else None),
            _short(row.figures[PRECISION].mean),
            _gain(gained) if gained else "–",
            f"{len(gained.gain)}/{len(gained.lose)}" if gained else "–",
            f"{row.megabytes_per_round:.2f}" if row.megabytes_per_round else "–",
            f"{row.seconds_per_round:.1f}" if row.seconds_per_round is not None else "–",
        )
    table.caption = "gain: in AUROC, over every site training alone; +/-: sites that gain/lose beyond their interval. "
    table.caption += "worst: AUROC at the worst site. MB, s: of a round, over all its sites. Chance: AUROC .500."
    if any(len(row.figures[AUROC].trainings) > 1 for row in results.league):
        table.caption += " ±: sd over trainings."
    return table


def _gain(gained: Gains) -> str:
    low, high = gained.ci95
    interval = f" [dim]({_short(low, '+')} {_short(high, '+')})[/]" if low is not None else ""
    return _short(gained.mean, "+") + interval


def _short(value: float | None, sign: str = "") -> str:
    """Three decimals without the zero before them."""
    return "–" if value is None else f"{value:{sign}.3f}".replace("0.", ".", 1)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.mean is None:
        return "–"
    low, high = figure.ci95 or (None, None)
    return f"{figure.mean:.3f}" + (f" [dim]({low:.3f}–{high:.3f})[/]" if low is not None else "")
