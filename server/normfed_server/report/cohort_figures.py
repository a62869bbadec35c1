"""The plots of the cohorts' page, drawn by plotly from the told cells; one that holds several bins is as wide as they
are, and as high as its people spread evenly over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from normfed_common.statistics.tables import SEXES
from normfed_server.report.figures import COLOURS, LAYOUT, to_html
from normfed_server.results.cohort_warnings import density
from normfed_server.results.cohorts import Cell, CohortFigures, Statistics

ALL = "all sites"
ACROSS = 4  # pyramids side by side
SEX_COLOURS = {"F": "#a855a0", "M": "#0b6e99", "unknown": "#6b7a8f"}
SEX_WORDS = {"F": "women", "M": "men", "unknown": "sex not told"}


def shown(found: Statistics) -> dict[str, CohortFigures]:
    """Every site, or all together where nobody sees a single one."""
    return dict(found.sites) or {ALL: found.merged}


def pyramids(found: Statistics) -> str:
    """Ages by sex: one pyramid per site that tells any, or none of all."""
    known = {site: of for site, of in shown(found).items() if any(_aged(found, of, sex) for sex in SEXES)}
    sites = known or shown(found)
    down = -(-len(sites) // ACROSS)
    figure = make_subplots(
        down, min(ACROSS, len(sites)), subplot_titles=list(sites), shared_yaxes=True, vertical_spacing=0.5 / (down + 1)
    )
    for number, of in enumerate(sites.values()):
        for sex in SEXES:
            _half(figure, found, of, sex, number)
    figure.update_layout({**LAYOUT, "height": 90 + 210 * down, "barmode": "overlay", "bargap": 0.0})
    figure.update_layout(legend={"orientation": "h", "y": 1 + 0.28 / down})
    figure.update_annotations(font_size=12)
    figure.update_yaxes(range=[0, 100], dtick=20)
    figure.update_xaxes(tickformat="s", zeroline=True, zerolinecolor="#5b6876")
    for row in range(1, down + 1):
        figure.update_yaxes(title_text="years", row=row, col=1)
    return to_html(figure)


def _aged(found: Statistics, of: CohortFigures, sex: str) -> list[Cell]:
    """The cells of people whose age is told."""
    return [cell for cell in of.tables[f"age-{sex}"] if cell.last < len(found.tables[f"age-{sex}"].edges)]


def _half(figure: go.Figure, found: Statistics, of: CohortFigures, sex: str, number: int) -> None:
    words = found.tables[f"age-{sex}"]
    cells = _aged(found, of, sex)
    ends = (*words.edges, 100.0)
    sign = -1 if sex == "M" else 1
    lows, highs = [ends[cell.first] for cell in cells], [ends[cell.last + 1] for cell in cells]
    figure.add_bar(
        x=[sign * cell.people / (cell.last + 1 - cell.first) for cell in cells],
        y=[(low + high) / 2 for low, high in zip(lows, highs, strict=True)],
        width=[high - low for low, high in zip(lows, highs, strict=True)],
        orientation="h",
        name=SEX_WORDS[sex],
        legendgroup=sex,
        showlegend=number == 0,
        marker={"color": SEX_COLOURS[sex], "line": {"color": "#fff", "width": 1}},
        customdata=[f"{cell.what}: {cell.people:.0f} {SEX_WORDS[sex]}" for cell in cells],
        hovertemplate="%{customdata}<extra></extra>",
        row=number // ACROSS + 1,
        col=number % ACROSS + 1,
    )


def overlaid(found: Statistics, table: str) -> str:
    """A table of ranges as one line per site: the share of its people in each bin."""
    words, figure = found.tables[table], go.Figure()
    ends = _drawn(words.edges)
    for number, (site, of) in enumerate(shown(found).items()):
        cells = tuple(cell for cell in of.tables[table] if cell.first < len(words.edges))
        heights = density(words, cells)[: len(words.edges)]
        if not heights.sum():
            continue
        figure.add_scatter(
            x=ends,
            y=[*(heights / heights.sum()), 0.0],
            name=site,
            mode="lines",
            line={"shape": "hv", "color": COLOURS[number % len(COLOURS)], "width": 1.6},
            hovertemplate="%{x}: %{y:.1%}<extra>" + site + "</extra>",
        )
    lines = len(shown(found))
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}
    figure.update_layout({**LAYOUT, "legend": below, "height": 330 + 12 * lines, "showlegend": True})
    figure.update_layout(margin={"t": 20, "b": 60 + 12 * lines})
    figure.update_xaxes(title_text=words.title + (f" ({words.unit})" if words.unit else ""))
    figure.update_yaxes(title_text="share", tickformat=".0%", rangemode="tozero")
    return to_html(figure)


def stacked(found: Statistics, table: str) -> str:
    """A table of kinds as one bar per site, in parts."""
    figure = go.Figure()
    sites = shown(found)
    parts = sorted({(cell.first, cell.last, cell.what) for of in sites.values() for cell in of.tables[table]})
    for number, (first, last, what) in enumerate(parts):
        found_people = [_people(of.tables[table], first, last) for of in sites.values()]
        figure.add_bar(
            y=list(sites), x=found_people, name=what, orientation="h", marker={"color": COLOURS[number % len(COLOURS)]}
        )
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "traceorder": "normal"}
    height = 130 + 26 * len(sites) + 18 * len(parts)
    figure.update_layout({**LAYOUT, "barmode": "stack", "legend": below, "height": height, "showlegend": True})
    figure.update_layout(margin={"l": 130, "t": 20, "b": 60 + 18 * len(parts)})
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="people")
    return to_html(figure)


def told(found: Statistics, table: str) -> bool:
    """Whether any site tells anything of a table."""
    return any(of.tables[table] for of in shown(found).values())


def _people(cells: Sequence[Cell], first: int, last: int) -> float:
    return sum(cell.people for cell in cells if (cell.first, cell.last) == (first, last))


def _drawn(edges: Sequence[float]) -> list[float]:
    """Ends of bins as they are drawn: the last is open, and a first that is wider than the next is so below."""
    first = max(edges[0], edges[1] - (edges[2] - edges[1]))
    return [first, *edges[1:], 2 * edges[-1] - edges[-2]]


def plots(found: Statistics) -> Mapping[str, list[tuple[str, str]]]:
    """Section to its plots with their titles, those of which anything is told."""
    by_range = [name for name, words in found.tables.items() if words.edges]
    overlays = {
        "Intensities": [name for name in by_range if name.startswith("intensity-")],
        "Volumes": [name for name in by_range if name in ("brain", "fluid", "grey", "white")],
        "Voxels": [name for name in by_range if name.startswith("voxel-")],
    }
    bars = {
        "Registration": ["registration"],
        "Scanners": ["vendor", "field"],
        "Lesions": ["lesions"],
        "Visits": ["visits"],
    }
    sections: dict[str, list[tuple[str, str]]] = {}
    for section, names in overlays.items():
        sections[section] = [(found.tables[n].title, overlaid(found, n)) for n in names if told(found, n)]
    for section, names in bars.items():
        sections[section] = [(found.tables[n].title, stacked(found, n)) for n in names if told(found, n)]
    return {section: plots for section, plots in sections.items() if plots}
