"""The interactive figures of the report, drawn by plotly, which travels inside the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from normfed_common.algorithms.arms import OWN, POOLED
from normfed_server.events.rounds import RoundFigures
from normfed_server.report.words import minus, small
from normfed_server.results import matrix as matrices
from normfed_server.results.figures import Difference, Differences, Figure, Gain, Gains, ModelFigures
from normfed_server.results.layout import Described, RunResults
from normfed_server.results.league import beyond
from normfed_server.results.models import TITLES

COLOURS = ["#0b83b5", "#c9711a", "#7d8a9c", "#3a9a5b", "#b264ab", "#d0574d", "#9b7a3f", "#5b7fa8", "#a88a12"]
CURRENT = "#7d8a9c"  # of lines that are no model's: seen on white and on black
BELOW, ABOVE = "#b2182b", "#2166ac"  # of chance
MOST_NAMED = 8  # sites that a plot names each
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1f2933"},
    "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": CURRENT},
    "height": 380,
}


def legend_below(height: int, entries: int) -> dict[str, Any]:
    """The layout of a figure with so many entries in its legend: above or beside they would lie over the plot."""
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "font": {"size": 11}}
    return {**LAYOUT, "legend": below, "height": height + 12 * entries}


def loss_curves(results: RunResults) -> str:
    """Loss per round: every site of the federation, and pooled training."""
    figure = go.Figure()
    sites = sorted({site for entry in results.rounds for site in entry.loss})
    rounds = [entry.round for entry in results.rounds]
    for number, site in enumerate(sites):
        values = [entry.loss.get(site) for entry in results.rounds]
        figure.add_scatter(
            x=rounds, y=values, name=site, mode="lines+markers", line={"color": COLOURS[number % len(COLOURS)]}
        )
    pooled = results.rounds_of.get(POOLED, ())
    if pooled:
        values = [entry.loss.get(POOLED) for entry in pooled]
        rounds, line = [entry.round for entry in pooled], {"dash": "dot", "color": CURRENT}
        figure.add_scatter(x=rounds, y=values, name=results.title(POOLED), line=line)
    figure.update_layout(**legend_below(360, len(sites)), xaxis_title="round", yaxis_title="training loss")
    return to_html(figure)


def per_site(evaluation: Mapping[str, ModelFigures], metrics: Mapping[str, Described]) -> str:
    """Every model at every site, with a menu of metrics; bars of 95 % intervals."""
    shown = [m for m in metrics if any(m in model.all for model in evaluation.values())]
    figure = go.Figure()
    for metric in shown:
        for number, (name, model) in enumerate(evaluation.items()):
            sites = ["all", *model.sites]
            found = [model.all.get(metric), *(figures.get(metric) for figures in model.sites.values())]
            figure.add_bar(
                x=sites,
                y=[figure.mean if figure else None for figure in found],
                error_y=_bars(found),
                name=name,
                visible=metric == shown[0],
                marker_color=COLOURS[number % len(COLOURS)],
            )
    count = len(evaluation)
    buttons = [
        {
            "label": metrics[metric].title,
            "method": "update",
            "args": [
                {"visible": [i // count == k for i in range(count * len(shown))]},
                {"yaxis.title.text": metrics[metric].title},
            ],
        }
        for k, metric in enumerate(shown)
    ]
    menu = {"buttons": buttons, "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"}
    figure.update_layout(**legend_below(420, count), barmode="group")
    figure.update_layout(updatemenus=[menu], yaxis_title=metrics[shown[0]].title if shown else "")
    return to_html(figure)


def gains(differences: Mapping[str, Differences], models: Sequence[str], metric: str, title: str) -> str:
    """Federated minus each other model, over all patients and at every site, with paired 95 % intervals."""
    figure = go.Figure()
    for number, name in enumerate(name for name in differences if name in models):
        found = differences[name]
        rows = {"all": found.all, **found.sites}
        values = {place: figures[metric] for place, figures in rows.items() if metric in figures}
        colour = COLOURS[(number + 1) % len(COLOURS)]
        figure.add_scatter(
            x=[value.mean for value in values.values()],
            y=list(values),
            error_x=_bars(list(values.values()), colour),
            name=f"minus {name}",
            mode="markers",
            orientation="h",  # models of a site stand below each other
            marker={"size": 9, "color": colour},
        )
    figure.add_vline(x=0, line_color=CURRENT, line_width=1)
    places = max((len(found.sites) for found in differences.values()), default=0)
    row = max(26, 9 * len(models))
    layout = legend_below(max(380, 130 + row * (1 + places)), len(models))
    figure.update_layout(**layout, xaxis_title=f"federated minus the other, {title}", scattermode="group")
    figure.update_yaxes(autorange="reversed", dtick=1)
    return to_html(figure)


def matrix(results: RunResults, metric: str) -> str:
    """Train site x test site of the local models, and below them of those that all sites trained; white is chance at
    the site of the column, red below it."""
    found = matrices.matrix(results, metric)
    if found is None:
        return ""
    means = list(found.rows.values())
    apart = results.metrics[metric].chance is None  # every site has a chance of its own
    chances = ["not known" if at is None else small(at) for at in found.chances]
    heads = [f"{test}<br>chance {at}" if apart else test for test, at in zip(found.tests, chances, strict=True)]
    heat = go.Heatmap(
        z=found.coloured,
        x=heads,
        y=list(found.rows),
        text=[[minus(f"{mean:.3f}") if mean is not None else "" for mean in row] for row in means],
        texttemplate="%{text}",
        customdata=[list(zip(found.tests, chances, strict=True))] * len(means),
        hovertemplate="trained at %{y}<br>tested at %{customdata[0]}<br>%{text}, chance there %{customdata[1]}"
        "<extra></extra>",
        colorscale=[[0, BELOW], [0.5, "#f7f7f7"], [1, ABOVE]],
        zmin=-found.reach,
        zmax=found.reach,
        colorbar={"title": {"text": "0: chance<br>1: perfect" if found.beside_chance else ""}},
    )
    figure = go.Figure(heat)
    layout = {**LAYOUT, "height": 110 + 42 * len(means)}
    figure.update_layout(**layout, xaxis_title="tested at", yaxis_title="trained at")
    figure.update_yaxes(autorange="reversed", dtick=1)
    return to_html(figure)


def league_gains(results: RunResults, metric: str = "auroc") -> str:
    """Every strategy's gain over local-only training: over all patients with its 95 % interval, and at every site."""
    gained = _gained(results, metric)
    figure = go.Figure()
    sites = sorted({site for gain in gained.values() for site in gain.sites})
    few = len(sites) <= min(MOST_NAMED, len(COLOURS))
    for number, site in enumerate(sites):
        here = [gain.sites.get(site) for gain in gained.values()]
        figure.add_scatter(
            x=[gain.mean if gain else None for gain in here],
            y=list(gained),
            name=site,
            mode="markers",
            showlegend=few,
            marker={"size": 7, "color": COLOURS[number] if few else CURRENT},
        )
    figure.add_scatter(
        x=[gain.mean for gain in gained.values()],
        y=list(gained),
        error_x=_bars(list(gained.values())),
        name="all patients",
        mode="markers",
        marker={"size": 12, "color": COLOURS[5], "symbol": "line-ns-open"},
    )
    figure.add_vline(x=0, line_color=CURRENT, line_width=1)
    title = results.metrics[metric].title
    layout = legend_below(150 + 26 * len(gained), len(sites) if few else 1)
    figure.update_layout(**layout, xaxis_title=f"gain in {title} over {TITLES[OWN]}")
    figure.update_yaxes(autorange="reversed", dtick=1)
    return to_html(figure)


def league_sites(results: RunResults, metric: str = "auroc") -> str:
    """Strategy x site: the gain over local-only training, starred where its 95 % interval excludes nothing."""
    gained = _gained(results, metric)
    sites = sorted({site for gain in gained.values() for site in gain.sites})
    found = [[gain.sites.get(site) for site in sites] for gain in gained.values()]
    values = [[gain.mean if gain else None for gain in line] for line in found]
    text = [[_starred(gain) for gain in line] for line in found]
    largest = max((abs(v) for line in values for v in line if v is not None), default=1.0)
    heat = go.Heatmap(
        z=values,
        x=sites,
        y=list(gained),
        text=text,
        texttemplate="%{text}",
        colorscale="RdBu",
        zmin=-largest,
        zmax=largest,
    )
    figure = go.Figure(heat)
    figure.update_layout(**{**LAYOUT, "height": 110 + 26 * len(gained)}, xaxis_title="tested at")
    figure.update_yaxes(autorange="reversed", dtick=1)
    return to_html(figure)


def _gained(results: RunResults, metric: str) -> dict[str, Gains]:
    """The strategies that can be set beside local training, and what they gain."""
    return {row.name: row.gain_over_local[metric] for row in results.league if row.gain_over_local}


def _starred(gain: Gain | None) -> str:
    if gain is None or gain.mean is None:
        return ""
    sure = beyond(gain, 1) or beyond(gain, -1)
    return f"{minus(f'{gain.mean:+.3f}')}{'*' if sure else ''}"


def hospital_times(history: Sequence[RoundFigures], median_s: Mapping[str, float | None]) -> str:
    """When each site's answers arrive, the slowest site at the top, a point a round; late ones apart."""
    known = {site: median for site, median in median_s.items() if median is not None}
    sites = sorted(known, key=lambda site: known[site])
    figure = go.Figure()
    for late, name, colour in ((False, "in time", COLOURS[0]), (True, "late", COLOURS[1])):
        points = [
            (time / 60, site, entry.round)
            for entry in history
            if entry.hospital_time is not None
            for site, time in entry.hospital_time.arrivals.items()
            if (entry.outcomes.get(site) == "late") == late
        ]
        figure.add_scatter(
            x=[time for time, _, _ in points],
            y=[site for _, site, _ in points],
            text=[f"round {number}" for _, _, number in points],
            name=name,
            mode="markers",
            marker={"color": colour, "size": 7, "opacity": 0.6},
        )
    figure.update_layout(**legend_below(150 + 22 * len(sites), 2), xaxis_title="minutes from the round's beginning")
    figure.update_yaxes(categoryorder="array", categoryarray=sites, dtick=1)
    return to_html(figure)


def _bars(figures: Sequence[Figure | Difference | None], colour: str = CURRENT) -> dict[str, Any]:
    def reach(figure: Figure | Difference | None, end: int) -> float:
        if figure is None or figure.ci95 is None or figure.mean is None:
            return 0.0
        limit = figure.ci95[end]
        return 0.0 if limit is None else abs(limit - figure.mean)

    return {
        "type": "data",
        "symmetric": False,
        "array": [reach(f, 1) for f in figures],
        "arrayminus": [reach(f, 0) for f in figures],
        "thickness": 1,
        "color": colour,
        "width": 3,
    }


def to_html(figure: go.Figure) -> str:
    """A figure as a part of a page that holds plotly already."""
    config = {"displaylogo": False, "responsive": True, "modeBarButtons": [["toImage", "resetScale2d"]]}
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return html
