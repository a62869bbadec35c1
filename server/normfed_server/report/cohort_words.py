"""One site's cohort, or all together, in a few words: a row of the page's table and of the terminal's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from normfed_common.statistics.tables import ABSENT, HEALTHY, PATIENTS, SEXES, UNKNOWN
from normfed_common.wording.terminal_text import plain
from normfed_server.results.cohorts import Cell, CohortFigures, Statistics

ALL = "all sites"
TOO_FEW = "too few"
SURE = 1.96  # standard deviations, of a 95 % interval


@dataclass(frozen=True)
class Row:
    """A site in words; a dash where nothing is told."""

    site: str
    people: str
    roles: str
    healthy: str
    patients: str
    ages: str
    women: str
    scanners: str
    lacking: str
    kinds: str


def rows(found: Statistics) -> list[Row]:
    """One per site, then those with too few people to tell of, and the last of all together."""
    few = [Row(site, below(found) or TOO_FEW, *["–"] * 8) for site in found.too_few]
    return [*(_row(found, site, of) for site, of in found.sites.items()), *few, _row(found, ALL, found.merged)]


def below(found: Statistics) -> str:
    """What a hospital tells nothing of, such as ``<10*``: its own minimum may be higher, which only the hospital knows.

    Nothing where every single person is told of.
    """
    return f"<{found.minimum}*" if found.minimum > 1 else ""


def hides(found: Statistics) -> bool:
    """Whether anything is told of several bins together only, or of too few people to be told."""
    cells = (cell for of in (*found.sites.values(), found.merged) for told in of.tables.values() for cell in told)
    return bool(found.too_few) or (not found.noise[0] and any(cell.first < cell.last for cell in cells))


def margin(found: Statistics, figures: CohortFigures, bins: int = 1) -> str:
    """By how many people a sum over so many bins may be wrong, such as `` ± 5``; nothing without noise."""
    half = SURE * found.noise_in(figures) * bins**0.5
    return f" ± {half:.0f}" if half else ""


def terminal_table(found: Statistics) -> Table:
    """The same, narrow enough for 80 columns."""
    table = Table(title=f"Cohorts of {plain(found.study)}", title_justify="left", box=None, pad_edge=False)
    table.add_column("", overflow="fold", max_width=22)
    for title in ("people", HEALTHY, PATIENTS):
        table.add_column(title, justify="right")
    listed = rows(found)
    scanners = any(row.scanners != "–" for row in listed)  # a column of nothing costs the others their width
    for title in ("years", "women", *(["scanner"] if scanners else []), "lack"):
        table.add_column(title, overflow="fold")
    for row in listed:
        told = (row.scanners,) if scanners else ()
        cells = (row.site, row.people, row.healthy, row.patients, row.ages, row.women, *told, row.lacking)
        table.add_row(*map(plain, cells), style="bold" if row.site == ALL else "")
    return table


def show_cohorts(console: Console, found: Statistics) -> None:
    """The table, and what to know before training."""
    console.print(terminal_table(found))
    if any("*" in cell for row in rows(found) for cell in (row.people, row.lacking)):
        console.print("* or the hospital's own minimum, where that is higher", highlight=False)
    for sentence in found.warnings:
        console.print(f"[yellow]![/] {plain(sentence)}", highlight=False)


def _row(found: Statistics, site: str, figures: CohortFigures) -> Row:
    lacking = [
        f"{modality.removeprefix('voxel-')} {text}"
        for modality in figures.tables
        if modality.startswith("voxel-") and (text := _count(found, figures, modality, ABSENT)) not in ("0", "–")
    ]
    return Row(
        site=site,
        people=f"{figures.people}",
        roles=_roles(found, figures),
        healthy=_count(found, figures, "group", HEALTHY),
        patients=_count(found, figures, "group", PATIENTS),
        ages=_ages(found, figures),
        women=_women(found, figures),
        scanners=_scanners(found, figures),
        lacking=", ".join(lacking) or "none",
        kinds=", ".join(figures.kinds) or "–",
    )


def _count(found: Statistics, figures: CohortFigures, table: str, name: str) -> str:
    """People in one bin: a range where it is told with others only, and a dash where nothing of the table is.

    Of the last bin, which is added to others when it alone is of too few, just that (see `below`).
    """
    words, cells = found.tables[table], figures.tables[table]
    place = words.bins.index(name)
    if not cells:
        return "–"
    alone = sum(cell.people for cell in cells if cell.first == cell.last == place)
    others = sum(cell.people for cell in cells if cell.first <= place <= cell.last and cell.first < cell.last)
    if others and not alone and place == len(words.bins) - 1 and words.edges:
        return below(found)
    return f"{alone:.0f}–{alone + others:.0f}" if others else f"{alone:.0f}{margin(found, figures)}"


def _roles(found: Statistics, figures: CohortFigures) -> str:
    told = [
        f"{cell.people:.0f}{margin(found, figures)} {cell.what.replace('_', ' ')}" for cell in figures.tables["role"]
    ]
    return ", ".join(told) or "–"


def _ages(found: Statistics, figures: CohortFigures) -> str:
    """From the youngest told bin to the oldest; noise puts somebody into all of them, so not with noise."""
    known: list[Cell] = []
    for sex in SEXES:
        ends = len(found.tables[f"age-{sex}"].edges)
        known += [cell for cell in found.beyond_noise(figures, f"age-{sex}") if cell.last < ends]
    if not known:
        return "–"
    edges = found.tables[f"age-{SEXES[0]}"].edges
    low, last = min(cell.first for cell in known), max(cell.last for cell in known)
    return f"{edges[low]:.0f}–{edges[last + 1] - 1:.0f}" if last + 1 < len(edges) else f"{edges[low]:.0f} and over"


def _women(found: Statistics, figures: CohortFigures) -> str:
    women, men, unknown = (sum(cell.people for cell in figures.tables[f"age-{sex}"]) for sex in SEXES)
    told = women + men
    if not told:
        return "not told" if unknown else "–"
    noise = found.noise_in(figures) * len(found.tables["age-F"].bins) ** 0.5
    half = SURE * noise * (women**2 + men**2) ** 0.5 / told**2  # of a ratio, by the delta method
    if half > 0.5:
        return "lost in noise"
    return f"{women / told:.0%}" + (f" ± {half:.0%}" if noise else f" of {told:.0f}" if unknown else "")


def _scanners(found: Statistics, figures: CohortFigures) -> str:
    named = [_largest(found.beyond_noise(figures, table)) for table in ("vendor", "field")]
    return " ".join(text for text in named if text) or "–"


def _largest(cells: Sequence[Cell]) -> str:
    """What most have in common; and that there are others."""
    known = sorted((cell for cell in cells if cell.what != UNKNOWN), key=lambda cell: -cell.people)
    if not known:
        return ""
    return known[0].what + ("+" if len(known) > 1 else "")
