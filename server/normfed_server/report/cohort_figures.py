"""The plots of the cohorts' page, drawn by plotly from the told cells: a row per site, all on one scale, each before
all sites together; and ages by sex. People of a cell that holds several bins are spread evenly over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from normfed_common.statistics.tables import SEXES
from normfed_server.report.cohort_words import ALL
from normfed_server.report.figures import LAYOUT
from normfed_server.results.cohort_warnings import density
from normfed_server.results.cohorts import SIGMAS, CohortFigures, Statistics, TableWords

ROW = 46  # pixels of a site's row, fewer where there are many
LONGEST_NAME = 24  # characters beside a plot; the tables have the whole name
SEX_COLOURS = {"F": "#cc79a7", "M": "#0072b2", "unknown": "#8b95a1"}  # told apart by whoever sees colours differently
SEX_WORDS = {"F": "women", "M": "men", "unknown": "sex not told"}
SITE, EVERYBODY = "#0072b2", "#b4bcc5"
LEAST_SHARE = 0.002  # of a site's people: bins beyond all that have more are not drawn


def shown(found: Statistics) -> dict[str, CohortFigures]:
    """Every site, or all together where nobody sees a single one."""
    return dict(found.sites) or {ALL: found.merged}


def _drawn_of(found: Statistics) -> dict[str, CohortFigures]:
    """The same without those whose noise is more than their people."""
    return {site: of for site, of in shown(found).items() if of.people > SIGMAS * found.noise_in(of)}


def in_noise(found: Statistics) -> list[str]:
    """Sites that are not drawn, as their noise is more than their people."""
    return [site for site in shown(found) if site not in _drawn_of(found)]


def without_ages(found: Statistics) -> list[str]:
    """Sites that tell no ages."""
    return [site for site, of in _drawn_of(found).items() if not any(_aged(found, of, sex).any() for sex in SEXES)]


def pyramids(found: Statistics) -> list[tuple[str, str]]:
    """Ages by sex: of each site that tells any, how it is called and a plot."""
    silent = without_ages(found)
    return [(_named(site, of), _pyramid(found, of)) for site, of in _drawn_of(found).items() if site not in silent]


def _part_of_page(figure: go.Figure) -> str:
    """Without buttons, which would lie over the first row, and still while a finger moves down the page."""
    figure.update_layout(dragmode=False)
    config = {"displayModeBar": False, "responsive": True}
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return html


def _aged(found: Statistics, of: CohortFigures, sex: str) -> np.ndarray:
    """People (decades,) whose age is told."""
    words = found.tables[f"age-{sex}"]
    cells = tuple(cell for cell in of.tables[f"age-{sex}"] if cell.last < len(words.edges))
    return density(words, cells)[: len(words.edges)]


def _pyramid(found: Statistics, of: CohortFigures) -> str:
    figure, people = go.Figure(), {sex: _aged(found, of, sex) for sex in SEXES}
    half = people["unknown"] / 2  # on both sides alike, outside of those whose sex is told
    longest = max(float((people[sex] + half).max()) for sex in ("F", "M"))
    edges = found.tables["age-F"].edges
    for sex, sign in (("F", 1), ("M", -1), ("unknown", 1), ("unknown", -1)):
        figure.add_bar(
            x=sign * (half if sex == "unknown" else people[sex]),
            y=[low + 5 for low in edges],
            width=10,
            orientation="h",
            marker={"color": SEX_COLOURS[sex], "line": {"color": "#fff", "width": 1}},
            customdata=[
                f"{low:.0f} to {low + 10:.0f} years: {count:.3g} {SEX_WORDS[sex]}"
                for low, count in zip(edges, people[sex], strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    step = max(_round_step(longest), 1.0)
    end = step * max(math.ceil(longest / step - 1e-9), 1)
    ticks = [-end, 0.0, end]
    figure.update_layout({**LAYOUT, "height": 190, "barmode": "relative", "bargap": 0.0, "showlegend": False})
    figure.update_layout(margin={"l": 34, "r": 6, "t": 4, "b": 24})
    figure.update_yaxes(range=[0, 100], dtick=20, tickfont_size=11)
    figure.update_xaxes(range=[-1.05 * end, 1.05 * end], tickvals=ticks, ticktext=[f"{abs(tick):g}" for tick in ticks])
    figure.update_xaxes(zeroline=True, zerolinecolor="#5b6876", tickfont_size=11)
    return _part_of_page(figure)


def _round_step(longest: float) -> float:
    """1, 2 or 5 times a power of ten, a fifth of the longest bar or more."""
    rough = max(longest, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def rows_of_sites(found: Statistics, table: str) -> str:
    """A table of ranges as one filled curve per site, all of one scale, each before that of all sites together."""
    words = found.tables[table]
    curves = {site: (of, curve) for site, of in _drawn_of(found).items() if (curve := _shares(words, of, table)).any()}
    every = _shares(words, found.merged, table)
    used = np.flatnonzero(np.max([every, *(curve for _, curve in curves.values())], axis=0) > LEAST_SHARE)
    first, last = max(int(used[0]) - 1, 0), min(int(used[-1]) + 2, len(words.edges))
    logarithmic = words.open_below
    ends = np.array(_ends(words.edges, logarithmic)[first : last + 1])
    highest = max(float(every.max()), *(float(curve.max()) for _, curve in curves.values()))
    figure = go.Figure()
    for base, (site, (_, curve)) in zip(range(len(curves))[::-1], curves.items(), strict=True):
        if site != ALL:
            _filled(figure, ends, base, every[first:last] / highest, EVERYBODY, ALL)
        _filled(figure, ends, base, curve[first:last] / highest, SITE, site, scale=highest)
    names = [_named(site, of) for site, (of, _) in curves.items()]
    height = 90 + max(28, ROW - len(curves)) * len(curves)
    figure.update_layout(
        {**LAYOUT, "height": height, "showlegend": False, "margin": {"l": 10, "r": 8, "t": 8, "b": 44}}
    )
    middles = [base + 0.3 for base in range(len(curves))][::-1]
    figure.update_yaxes(
        tickvals=middles, ticktext=names, range=[-0.08, len(curves)], automargin=True, tickfont_size=11, showgrid=False
    )
    figure.update_xaxes(title_text=_axis(words), tickfont_size=11, title_font_size=12, title_standoff=6)
    if logarithmic:
        figure.update_xaxes(type="log", dtick=1, range=[math.log10(ends[0]), math.log10(ends[-1])])
    return _part_of_page(figure)


def _filled(
    figure: go.Figure,
    ends: np.ndarray,
    base: float,
    heights: np.ndarray,
    colour: str,
    name: str,
    scale: float = 1.0,
) -> None:
    """Steps over ``base``, their height at most 0.9 of a row."""
    front = colour == SITE
    x, y = np.repeat(ends, 2), np.concatenate([[0], np.repeat(heights, 2), [0]])
    figure.add_scatter(
        x=x,
        y=base + 0.9 * y,
        mode="lines",
        fill="toself",
        fillcolor="rgba(0, 114, 178, 0.28)" if front else "rgba(180, 188, 197, 0.45)",
        line={"color": colour, "width": 1.4 if front else 0, "simplify": False},
        name=name,
        hoverinfo="text" if front else "skip",
        text=[f"{name}: {share * scale:.1%}" for share in y],
        hoveron="points",
    )


def _shares(words: TableWords, of: CohortFigures, table: str) -> np.ndarray:
    """The share of people (ranges,) in each bin that is a range, of those in any; zeros where nothing is told."""
    cells = tuple(cell for cell in of.tables[table] if cell.first < len(words.edges))
    heights = density(words, cells)[: len(words.edges)]
    total = float(heights.sum())
    return heights / total if total else heights


def _named(site: str, of: CohortFigures) -> str:
    short = site if len(site) <= LONGEST_NAME else f"{site[: LONGEST_NAME - 1]}…"
    return f"{short} ({of.people})"


def _axis(words: TableWords) -> str:
    """What stands below a plot, whose title is above it."""
    return words.unit or ("as in the file" if words.open_below else "normalised")


def _ends(edges: Sequence[float], logarithmic: bool) -> list[float]:
    """Ends of bins as they are drawn: the last is open, and a first that is wider than the next is so below."""
    if logarithmic:
        return [edges[1] ** 2 / edges[2], *edges[1:], edges[-1] ** 2 / edges[-2]]
    first = max(edges[0], edges[1] - (edges[2] - edges[1]))
    return [first, *edges[1:], 2 * edges[-1] - edges[-2]]


def plots(found: Statistics) -> Mapping[str, list[tuple[str, str]]]:
    """Section to its plots with their titles, those of which anything is told."""
    by_range = [name for name, words in found.tables.items() if words.edges]
    sections = {
        "Scanners' own numbers": [name for name in by_range if name.startswith("raw-")],
        "Intensities": [name for name in by_range if name.startswith("intensity-")],
        "Volumes": [name for name in by_range if name in ("brain", "fluid", "grey", "white")],
        "Voxels": [name for name in by_range if name.startswith("voxel-")],
    }
    drawn = {
        section: [(found.tables[n].title, rows_of_sites(found, n)) for n in names if _told(found, n)]
        for section, names in sections.items()
    }
    return {section: of for section, of in drawn.items() if of}


def _told(found: Statistics, table: str) -> bool:
    """Whether any site tells people in a range of a table."""
    ranges = len(found.tables[table].edges)
    return any(cell.first < ranges for of in _drawn_of(found).values() for cell in of.tables[table])
