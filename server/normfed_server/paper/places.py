"""Figures of sites: how well every model does where, and which site's model serves which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normfed_common.algorithms.arms import FEDERATED
from normfed_server.paper import choice, style
from normfed_server.report.words import small
from normfed_server.results import matrix as matrices
from normfed_server.results.chance import chance
from normfed_server.results.figures import Figure as Mean
from normfed_server.results.layout import RunResults

EVERYBODY = "all patients"
ROW_MM, NARROW_MM = 7.0, 4.6
MANY = 12  # sites, of which more have narrow rows
STANDING = 4  # sites of a matrix up to which their names are read without turning one's head
STANDING_MM = 22.0  # that each of these has at most
WRITTEN = 16  # sites of a matrix up to which its cells have room for figures of 7 points
SHORT = 12  # from which on they have room for two digits alone


def dots(results: RunResults) -> Figure | None:
    """The principal models at every site with their 95 % intervals, a panel a metric; None without sites."""
    models, metrics = choice.principal(results), choice.chief(results)
    sites = sorted({site for name in models for site in results.evaluation[name].sites})
    if not (sites and metrics):
        return None
    rows, looks = [EVERYBODY, *sites], choice.looks(results)
    names = [_row(results, site, metrics[0]) for site in rows]
    height = 28 + style.row_mm(names, ROW_MM if len(sites) <= MANY else NARROW_MM) * len(rows)
    figure, axes = style.panels(len(metrics), height_mm=height, sharey=True)
    for metric, panel in zip(metrics, axes, strict=True):
        for number, name in enumerate(models):
            model = results.evaluation[name]
            found = [model.all.get(metric), *(model.sites.get(site, {}).get(metric) for site in sites)]
            offset = (number - (len(models) - 1) / 2) * 0.8 / len(models)
            _dots(panel, found, offset, looks[name], results.title(name))
        _chance(panel, [chance(results, metric), *(chance(results, metric, site) for site in sites)])
        panel.axhline(0.5, color=style.FAINT, linewidth=0.6)
        panel.set(xlabel=results.metrics[metric].title)
        panel.grid(axis="x", color="#E6E6E6", linewidth=0.5)
        panel.set_axisbelow(True)
    axes[0].set_yticks(range(len(rows)), names)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    style.legend_below(figure, axes, columns=3)
    return figure


def _row(results: RunResults, site: str, metric: str) -> str:
    """A site and how many patients the federated model is tested on there."""
    model = results.evaluation[FEDERATED]
    figure = (model.all if site == EVERYBODY else model.sites.get(site, {})).get(metric)
    return style.wrapped(site) if figure is None else style.beside(site, f"n = {figure.n}")


def _dots(axes: Axes, found: list[Mean | None], offset: float, number: int, label: str) -> None:
    look = style.look(number)
    means = {place + offset: mean for place, mean in enumerate(found) if mean is not None and mean.mean is not None}
    middles = [mean.mean or 0.0 for mean in means.values()]
    axes.plot(middles, list(means), look["marker"], color=look["color"], label=label, markeredgewidth=0)
    style.intervals(axes, [mean.ci95 for mean in means.values()], list(means), look["color"])


def _chance(axes: Axes, found: list[float | None]) -> None:
    """A line down every row of which it is known."""
    known = {place: at for place, at in enumerate(found) if at is not None}
    if known:
        ends = [place - 0.5 for place in known], [place + 0.5 for place in known]
        axes.vlines(
            list(known.values()), *ends, color=style.QUIET, linewidth=0.8, linestyle=(0, (1, 2)), label="chance"
        )


def matrix(results: RunResults, metric: str) -> Figure | None:
    """Training site x test site of the sites' own models, with pooled and federated below; None without local ones.

    Colours say how far a mean is from chance at the site of its column.
    """
    found = matrices.matrix(results, metric)
    if found is None:
        return None
    names = list(map(style.wrapped, found.rows))
    tests = [_tested(test, at) for test, at in zip(found.tests, _told(results, metric, found), strict=True)]
    upright = len(tests) > STANDING or max(map(style.wide_mm, tests)) > STANDING_MM
    cell = style.row_mm(tests, 10.0) if upright else STANDING_MM
    width = min(style.PAGE_MM, max(style.COLUMN_MM, 56 + cell * len(tests)))
    below = max(map(style.wide_mm, tests)) if upright else 8.0
    height = 26 + below + style.row_mm(names, 5.5) * len(names)
    figure, (axes,) = style.panels(width_mm=width, height_mm=height)
    coloured = np.array(found.coloured, float)  # None as NaN, which has no colour
    image = axes.imshow(coloured, cmap="RdBu", vmin=-found.reach, vmax=found.reach, aspect="auto")
    axes.set_xticks(range(len(tests)), tests, rotation=90 if upright else 0)
    axes.set_yticks(range(len(names)), names)
    axes.axhline(found.own - 0.5, color="black", linewidth=0.8)
    axes.set(xlabel="tested at", ylabel="trained at")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)
    title = results.metrics[metric].title
    bar.set_label(f"{title}: 0 at chance, 1 perfect" if found.beside_chance else title)
    if len(tests) <= WRITTEN:
        _write_cells(axes, found, coloured, digits=3 if len(tests) <= SHORT else 2)
    return figure


def _told(results: RunResults, metric: str, found: matrices.Matrix) -> Sequence[float | None]:
    """Chance of every column, where it is another at each site."""
    return found.chances if results.metrics[metric].chance is None else [None] * len(found.tests)


def _tested(site: str, at: float | None) -> str:
    return style.wrapped(site) if at is None else f"{style.wrapped(site)}\n(chance {small(at)})"


def _write_cells(axes: Axes, found: matrices.Matrix, coloured: np.ndarray, digits: int) -> None:
    means = np.array(list(found.rows.values()), float)
    for (row, column), mean in np.ndenumerate(means):
        if np.isfinite(mean):
            dark = abs(coloured[row, column]) > 0.6 * found.reach
            text = f"{mean:.{digits}f}".removeprefix("0") if digits == 2 else f"{mean:.{digits}f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
