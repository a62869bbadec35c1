"""The plots of the page: sites from top to bottom, people counted from left to right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from normfed_server.report.figures import COLOURS, LAYOUT, to_html
from normfed_simulation.who_has_what.people import Row

UNKNOWN, NO_MASK = "not told", "no mask"
GREY = "#c3cbd3"  # of what is not known
ROW_PX, AROUND_PX = 30, 140  # of a site, and of axis and legend
MOST_TOLD_APART = len(COLOURS)  # kinds that get a colour of their own; the rarest others are one
OTHERS = "others"


def groups(people: Sequence[Row]) -> str:
    """People by group."""
    return _stacked(people, lambda row: row.group or UNKNOWN)


def sexes(people: Sequence[Row]) -> str:
    """People by sex."""
    return _stacked(people, lambda row: row.sex or UNKNOWN)


def scanners(people: Sequence[Row]) -> str:
    """People by scanner; nothing where no scanner is told."""
    return _stacked(people, lambda row: row.scanner or UNKNOWN) if any(row.scanner for row in people) else ""


def kinds(people: Sequence[Row]) -> str:
    """People by kind of lesion; nothing where nobody has a mask."""
    if not any(row.lesions_ml for row in people):
        return ""
    return _stacked(people, lambda row: "+".join(sorted(row.lesions_ml)) or NO_MASK)


def ages(people: Sequence[Row]) -> str:
    """Every age, and how they lie; nothing where none is told."""
    figure = go.Figure()
    for number, site in enumerate(_sites(people)):
        found = [row.age for row in people if row.site == site and row.age is not None]
        figure.add_violin(
            x=found,
            y0=site,
            orientation="h",
            points="all",
            pointpos=0,
            jitter=0.5,
            spanmode="hard",
            width=0.9,
            marker={"size": 4, "opacity": 0.7},
            line={"width": 1, "color": COLOURS[number % len(COLOURS)]},
            showlegend=False,
        )
    return _drawn(figure, people, "years") if any(row.age is not None for row in people) else ""


def loads(people: Sequence[Row]) -> str:
    """The volume of everybody's lesions by kind; nothing where nobody has any."""
    figure = go.Figure()
    found = [(row.site, kind, ml) for row in people for kind, ml in row.lesions_ml.items() if ml > 0]
    for number, kind in enumerate(sorted({kind for _, kind, _ in found})):
        figure.add_box(
            x=[ml for _, other, ml in found if other == kind],
            y=[site for site, other, _ in found if other == kind],
            orientation="h",
            boxpoints="all",
            pointpos=0,
            jitter=0.5,
            name=kind,
            marker={"size": 4, "color": COLOURS[number % len(COLOURS)]},
            line={"width": 1},
        )
    figure.update_layout(boxmode="group")
    figure.update_xaxes(type="log")
    return _drawn(figure, people, "ml of lesion, on a logarithmic axis") if found else ""


def modalities(people: Sequence[Row]) -> str:
    """How many people of each site have each modality."""
    names = sorted({modality for row in people for modality in row.modalities})
    return _heat(people, names, lambda row: row.modalities, "modality", shares=True)


def origins(people: Sequence[Row]) -> str:
    """Where the people of each site came from; nothing where everybody is at the site of the dataset."""
    if all(row.site == row.came_from for row in people):
        return ""
    names = sorted({row.came_from for row in people})
    return _heat(people, names, lambda row: {row.came_from}, "site in the dataset", shares=False)


def _sites(people: Sequence[Row]) -> list[str]:
    return sorted({row.site for row in people})


def _stacked(people: Sequence[Row], kind_of: Callable[[Row], str]) -> str:
    """People of each site, one colour per kind."""
    total = Counter(map(kind_of, people))
    common = [kind for kind, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    told = common if len(common) <= MOST_TOLD_APART else [*common[: MOST_TOLD_APART - 1], OTHERS]
    counted = Counter((row.site, kind if (kind := kind_of(row)) in told else OTHERS) for row in people)
    sites, figure = _sites(people), go.Figure()
    for number, kind in enumerate(told):
        counts = [counted[site, kind] for site in sites]
        figure.add_bar(
            x=counts,
            y=sites,
            orientation="h",
            name=kind,
            text=[count or "" for count in counts],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            marker_color=GREY if kind in (UNKNOWN, NO_MASK) else COLOURS[number],
        )
    figure.update_layout(barmode="stack")
    return _drawn(figure, people, "people")


def _heat(
    people: Sequence[Row], names: list[str], of: Callable[[Row], frozenset[str] | set[str]], title: str, shares: bool
) -> str:
    """A cell per site and name: how many people; coloured by that, or by the share of the site's people."""
    sites, size = _sites(people), Counter(row.site for row in people)
    counted = Counter((row.site, name) for row in people for name in of(row))
    text = [[str(counted[site, name] or "") for name in names] for site in sites]
    values = [[counted[site, name] / (size[site] if shares else 1) for name in names] for site in sites]
    scale = {"zmin": 0, "zmax": 1} if shares else {"zmin": 0}
    heat = go.Heatmap(
        z=values, x=names, y=sites, text=text, texttemplate="%{text}", colorscale="Blues", showscale=False, **scale
    )
    return _drawn(go.Figure(heat), people, title)


def _drawn(figure: go.Figure, people: Sequence[Row], title: str) -> str:
    sites = _sites(people)
    legend: dict[str, Any] = {
        "orientation": "h",
        "yref": "container",
        "y": 0,
        "yanchor": "bottom",
        "traceorder": "normal",
    }
    layout = {**LAYOUT, "legend": legend, "height": AROUND_PX + ROW_PX * len(sites)}
    figure.update_layout({**layout, "margin": {"l": 60, "r": 20, "t": 30, "b": 70}}, xaxis_title=title)
    figure.update_yaxes(automargin=True, type="category", categoryarray=sites, range=[len(sites) - 0.5, -0.5])
    return to_html(figure)
