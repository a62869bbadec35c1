"""Figures of differences: the federated model less others, and strategies in a league."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normfed_common.algorithms.arms import FEDERATED, OWN
from normfed_server.paper import choice, style
from normfed_server.report.gains import Judgement, judgement
from normfed_server.report.words import p_value
from normfed_server.results.figures import Difference, LeagueRow
from normfed_server.results.layout import RunResults

ROW_MM = 5.5
TITLES_MM = 112.0  # that lines above all panels have together
MARKERS = (
    ("D", 5.5, True, "all patients: better or worse"),
    ("D", 5.5, False, "all patients: tied or too few"),
    ("s", 3.6, False, "a site: no verdict"),
)
LEAST = 0.02  # that a scale of differences reaches on either side: smaller ones are to look small


def forest(results: RunResults, metric: str) -> Figure | None:
    """The federated model less each other principal one, at every site and over all patients, with 95 % intervals.

    None where it is compared with none.
    """
    others = [n for n in choice.principal(results) if n in results.differences and metric in results.differences[n].all]
    if not others:
        return None
    sites = sorted({site for name in others for site in results.differences[name].sites})
    names = [style.beside(site or "all patients", f"n = {_patients(results, site, metric)}") for site in (*sites, "")]
    worths = [judgement(results, name, metric) for name in others]
    room = TITLES_MM / len(others)
    titles = [_title(results.title(name), worth, room) for name, worth in zip(others, worths, strict=True)]
    height = 36 + style.LINE_MM * style.lines(titles) + style.row_mm(names, ROW_MM) * len(names)
    figure, axes = style.panels(len(others), height_mm=height, sharey=True, sharex=True)
    for name, title, worth, panel in zip(others, titles, worths, axes, strict=True):
        found = results.differences[name]
        at_sites = {
            place: found.sites[site][metric] for place, site in enumerate(sites) if metric in found.sites.get(site, {})
        }
        _differences(panel, at_sites, "s", 3.6)
        _differences(panel, {len(sites) + 0.25: found.all[metric]}, "D", 5.5, decided=bool(worth and worth.decided))
        panel.axvline(0, color="black", linewidth=0.7)
        panel.axhline(len(sites) - 0.4, color=style.FAINT, linewidth=0.6)
        panel.set_title(title)
        panel.set(xlabel=f"← lower · federated · higher →\ndifference in {results.metrics[metric].title}")
        panel.grid(axis="x", color="#E6E6E6", linewidth=0.5)
        panel.set_axisbelow(True)
    _at_least(axes[0])
    axes[0].set_yticks([*range(len(sites)), len(sites) + 0.25], names)
    axes[0].set_ylim(len(sites) + 0.75, -0.5)
    _what_markers_say(figure, axes[0])
    return figure


def _title(other: str, worth: Judgement | None, room_mm: float) -> str:
    """What is taken off the federated model, and what the report calls this over all patients."""
    said = [] if worth is None else [worth.verdict] if worth.p is None else [f"{worth.verdict}, {p_value(worth.p)}"]
    return "\n".join([style.wrapped(f"minus {other}", room_mm), *said])


def _what_markers_say(figure: Figure, axes: Axes) -> None:
    for marker, size, filled, label in MARKERS:
        axes.plot([], [], marker, label=label, **_marked(size, filled))
    style.legend_below(figure, [axes], columns=len(MARKERS))


def _patients(results: RunResults, site: str, metric: str) -> int:
    """Whom the federated model is tested on at a site; everywhere where none is named."""
    model = results.evaluation[FEDERATED]
    figure = (model.sites.get(site, {}) if site else model.all).get(metric)
    return 0 if figure is None else figure.n


def _differences(
    axes: Axes, found: Mapping[Any, Difference], marker: str, size: float, *, decided: bool = False
) -> None:
    """By their heights; filled where one of the two models is called the better one."""
    known = {place: difference for place, difference in found.items() if difference.mean is not None}
    style.intervals(axes, [difference.ci95 for difference in known.values()], list(known), style.COLOURS[0])
    means = [difference.mean or 0.0 for difference in known.values()]
    axes.plot(means, list(known), marker, **_marked(size, decided))


def _marked(size: float, filled: bool) -> dict[str, Any]:
    face = style.COLOURS[0] if filled else "white"
    return {"color": style.COLOURS[0], "markersize": size, "markerfacecolor": face, "markeredgewidth": 0.8}


def league(results: RunResults) -> Figure | None:
    """Every strategy and anchor: mean with its interval and the worst site; gain over each site alone; None for one."""
    rows = results.league
    metric = next((metric for metric in choice.CHIEF if rows and metric in rows[0].figures), None)
    if len(rows) < 2 or metric is None:
        return None
    title = results.metrics[metric].title
    names = [style.wrapped(row.title) for row in rows]
    height = 30 + style.row_mm(names, ROW_MM) * len(rows)
    figure, (means, gains) = style.panels(2, height_mm=height, sharey=True)
    for place, row in enumerate(rows):
        found = row.figures[metric]
        if found.mean is None:
            continue
        means.plot(found.mean, place, "o", color=style.COLOURS[0], label="mean and 95 % interval")
        style.intervals(means, [found.ci95], [place], style.COLOURS[0])
        if found.worst_site is not None:
            means.plot(found.worst_site.mean or 0.0, place, "x", color=style.COLOURS[1], label="worst site")
        _gain(gains, results, row, metric, place)
    means.set_yticks(range(len(rows)), names)
    means.set_ylim(len(rows) - 0.5, -0.5)
    means.set(xlabel=title)
    gains.axvline(0, color="black", linewidth=0.7)
    _at_least(gains)
    gains.set(xlabel=f"gain in {title} over each site alone")
    gains.plot([], [], "o", label="gain without a verdict", **_marked(3.6, False))
    for panel in (means, gains):
        panel.grid(axis="x", color="#E6E6E6", linewidth=0.5)
        panel.set_axisbelow(True)
    style.legend_below(figure, [means, gains], columns=3)
    return figure


def _at_least(axes: Axes) -> None:
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -LEAST), max(high, LEAST))
    axes.locator_params(axis="x", nbins=5)


def _gain(axes: Axes, results: RunResults, row: LeagueRow, metric: str, place: int) -> None:
    gain = (row.gain_over_local or {}).get(metric)
    if gain is None:
        return
    at_sites = [of.mean for of in gain.sites.values() if of.mean is not None]
    axes.plot(at_sites, [place] * len(at_sites), "|", color=style.QUIET, markersize=6, label="a site")
    worth = judgement(results, OWN, metric) if row.name == FEDERATED else None  # no other strategy is tested against it
    _differences(axes, {place: gain}, "o", 3.6, decided=bool(worth and worth.decided))
