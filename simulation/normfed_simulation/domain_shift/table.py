"""The tables that a study of domain shift ends with, narrow enough for 80 columns."""

from __future__ import annotations

import re

from rich.table import Table

from normfed_common.algorithms.arms import FEDERATED, OWN, POOLED
from normfed_server.results.models import BORROWED, UNSEEN
from normfed_simulation.commands.tables import NARROW
from normfed_simulation.domain_shift.layout import DomainShift, HarmonizationResults
from normfed_simulation.domain_shift.words import MAIN

COLUMNS = {OWN: "own", BORROWED: "other", UNSEEN: "unseen", FEDERATED: "fed.", POOLED: "pool."}


def shift_table(results: DomainShift) -> Table:
    """By harmonization: the mean of every approach, how well scanners are told, how well age is."""
    chosen = [name for name in results.titles if name in COLUMNS]
    table = Table(title=f"{results.metrics[MAIN]} [dim](and its change)[/]", **NARROW)
    table.add_column("", overflow="fold", min_width=17)
    for title in (*(COLUMNS[name] for name in chosen), "gap", "scanner", "age"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, one in results.harmonizations.items():
        if one.failed:
            table.add_row(name, *["–"] * (len(chosen) + 3))
        else:
            table.add_row(name, *(_cell(one, column) for column in chosen), _gap(one), _scanner(one), _age(one))
    table.caption = (
        "own: every site's own model at home; other: other sites' there; unseen: a federation without the site. "
        "gap: fed. less unseen. scanner: balanced accuracy on features; chance: one over the scanners. age: R2 at "
        "scanners that the regression never saw. Below: the change from no harmonization."
    )
    return table


def _cell(one: HarmonizationResults, approach: str) -> str:
    found = one.figures[MAIN].approaches.get(approach)
    if found is None:
        return "–"
    change = ""
    if found.over_none is not None:
        shown = _short(found.over_none.mean, "+")
        change = "\n[dim]tie[/]" if found.over_none.verdict == "tied" else f"\n{shown}"
    return _short(found.mean) + change


def _gap(one: HarmonizationResults) -> str:
    if FEDERATED not in one.figures[MAIN].gaps:
        return "–"
    found = one.figures[MAIN].gaps[FEDERATED].all.gap
    low, high = found.ci95
    ends = "" if low is None or high is None else f"\n[dim]{_short(low, '+')}[/]\n[dim]{_short(high, '+')}[/]"
    return _short(found.mean, "+") + ends


def _scanner(one: HarmonizationResults) -> str:
    told = None if one.scanners is None else one.scanners.told[0]
    return "–" if told is None or told.accuracy is None else f"{100 * told.accuracy:.0f} %"


def _age(one: HarmonizationResults) -> str:
    fit = None if one.scanners is None else next((fit for fit in one.scanners.ages if fit.across), None)
    return _short(None if fit is None else fit.r2)


def _short(value: float | None, sign: str = "") -> str:
    """Three decimals, without a zero before them."""
    return "–" if value is None else re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{sign}.3f}")
