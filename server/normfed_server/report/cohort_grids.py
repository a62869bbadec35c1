"""Tables of kinds of people for the cohorts' page: a row per site, a column per bin, shaded by the share of people.

A number that is told of several bins together stands across their columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from normfed_common.statistics.tables import UNKNOWN
from normfed_server.report.cohort_figures import shown
from normfed_server.report.cohort_words import ALL, below, hides, margin
from normfed_server.results.cohort_warnings import density
from normfed_server.results.cohorts import Cell, CohortFigures, Statistics, TableWords

SECTIONS = {
    "Registration": ("registration",),
    "Scanners": ("vendor", "field"),
    "Lesions": ("lesions",),
    "Visits": ("visits",),
}
DARKEST = 0.45  # opacity of a cell that has everybody
SAID = (0.05, 0.5, 0.95)  # of the voxels, below which the numbers of a scanner are said
RAW_LEAST = 0.1  # below which the grid tells no numbers apart


@dataclass(frozen=True)
class Box:
    """A cell of the page.

    Parameters
    ----------
    wide
        How many columns it is across.
    shade
        From 0 to 1.
    """

    text: str
    wide: int = 1
    shade: float = 0.0


@dataclass(frozen=True)
class Grid:
    """A table of the page: columns, and the cells of each site."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Box, ...]], ...]


def sections(found: Statistics) -> Mapping[str, list[Grid]]:
    """Section to its tables, those of which any site tells more than that it is not known."""
    grids = {section: [grid(found, name) for name in names if says(found, name)] for section, names in SECTIONS.items()}
    return {section: of for section, of in grids.items() if of}


def unsaid(found: Statistics) -> list[str]:
    """Titles of the tables of these sections that no site tells anything of."""
    return [found.tables[name].title for names in SECTIONS.values() for name in names if not says(found, name)]


def others(found: Statistics) -> list[Grid]:
    """All further tables of people."""
    apart = {name for names in SECTIONS.values() for name in names}
    return [
        grid(found, name)
        for name, words in found.tables.items()
        if name not in apart and not words.shares and says(found, name)
    ]


def says(found: Statistics, table: str) -> bool:
    """Whether anybody is told to be in a known bin of a table."""
    return any(cell.what != UNKNOWN for of in shown(found).values() for cell in of.tables[table])


def grid(found: Statistics, table: str) -> Grid:
    """A table of people, without the bins that nobody is in."""
    words, every = found.tables[table], {**shown(found), ALL: found.merged}
    used = sorted({end for of in every.values() for cell in of.tables[table] for end in (cell.first, cell.last)})
    rows = tuple((site, _boxes(found, of, table, used)) for site, of in every.items())
    return Grid(words.title, tuple(words.bins[place] for place in used), rows)


def _boxes(found: Statistics, of: CohortFigures, table: str, used: list[int]) -> tuple[Box, ...]:
    """The cells of one site; of all together several may overlap, which makes one across all of them."""
    cells = _apart(of.tables[table])
    if not cells:
        return (Box("–", len(used)),)
    total, boxes = sum(cell.people for cell in cells), list[Box]()
    at = 0
    while at < len(used):
        cell = next((cell for cell in cells if cell.first <= used[at] <= cell.last), None)
        if cell is None:
            boxes.append(Box("0"))
            at += 1
            continue
        wide = sum(cell.first <= place <= cell.last for place in used)
        hidden = f", part {below(found)}" if cell.first < cell.last and hides(found) else ""
        boxes.append(Box(f"{cell.people:.0f}{margin(found, of)}{hidden}", wide, cell.people / total))
        at += wide
    return tuple(boxes)


def _apart(cells: tuple[Cell, ...]) -> list[Cell]:
    """Cells that have bins in common as one."""
    found: list[Cell] = []
    for cell in sorted(cells, key=lambda cell: (cell.first, cell.last)):
        if found and cell.first <= found[-1].last:
            last = found.pop()
            cell = Cell(
                first=last.first, last=max(last.last, cell.last), what=last.what, people=last.people + cell.people
            )
        found.append(cell)
    return found


def scales(found: Statistics) -> list[Grid]:
    """Per modality the numbers that the files of each site hold in the brain: low, middle, high."""
    names = [name for name in found.tables if name.startswith("raw-")]
    grids = []
    for name in names:
        words = found.tables[name]
        rows = [
            (site, tuple(Box(_rounded(value)) for value in said))
            for site, of in {**shown(found), ALL: found.merged}.items()
            if not found.drowned(of) and (said := quantiles(words, of.tables[name]))
        ]
        columns = tuple(f"{share:.0%} of voxels below" for share in SAID)
        if rows:
            grids.append(Grid(name.removeprefix("raw-"), columns, tuple(rows)))
    return grids


def quantiles(words: TableWords, cells: tuple[Cell, ...]) -> tuple[float, ...]:
    """The numbers below which so many of the voxels are (see `SAID`), those of a bin spread evenly over it on a
    logarithmic scale; nothing where nothing is told."""
    people = density(words, cells)
    if not people.any():
        return ()
    ends = np.log10([words.edges[1] / 10, *words.edges[1:], 10 * words.edges[-1]])
    share = np.cumsum([0.0, *people]) / people.sum()
    return tuple(float(10 ** np.interp(part, share, ends)) for part in SAID)


def _rounded(value: float) -> str:
    """Two figures: the bins tell no more."""
    if value < RAW_LEAST:
        return f"below {RAW_LEAST:g}"
    return f"{float(f'{value:.2g}'):,g}"
