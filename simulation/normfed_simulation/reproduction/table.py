"""Ours beside published: in the terminal, within 80 columns, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from normfed_common.wording.terminal_text import plain
from normfed_server.report.words import interval, minus, number, signed
from normfed_simulation.commands.tables import NARROW
from normfed_simulation.reproduction.comparing import COUNTS, Compared, ComparedRow
from normfed_simulation.reproduction.layout import Reproduction
from normfed_simulation.reproduction.recipe import PublishedFigure

MADE_UP = (
    "MADE-UP DATA. This run used a look-alike that normfed generated: nothing was reproduced, and no figure below says "
    "anything of the published ones."
)
COLOURS = {"within": "green", "outside": "yellow", "not comparable": "dim"}


def comparison_table(found: Reproduction) -> Table:
    """For the terminal."""
    table = Table(title="Ours beside published [dim](95 % interval below ours)[/]", **NARROW)
    for column in ("", "metric", "ours", "n", "published", "diff.", "verdict"):
        table.add_column(column, justify="right" if column in ("ours", "n", "diff.") else "left", overflow="fold")
    with_ours = [row for row in found.rows if any(figure.ours is not None for figure in row.figures)]
    if len(with_ours) < len(found.rows):
        table.caption = (
            f"{len(found.rows) - len(with_ours)} published rows with nothing of ours beside them: see the page."
        )
    for row in with_ours:
        for first, figure in _firsts(row):
            ends = interval(figure.ci95)
            table.add_row(
                plain(row.name) if first else "",
                plain(figure.metric),
                shown(figure.metric, figure.ours) + (f"\n[dim]{ends}[/]" if ends else ""),
                "" if figure.n is None else str(figure.n),
                published(figure.metric, figure.published),
                difference(figure),
                f"[{COLOURS[figure.verdict]}]{plain(short(figure))}[/]",
            )
    return table


def patients_table(found: Reproduction) -> Table:
    """Our patients, and the published ones, who are other people."""
    table = Table(title="Detections and ranks by patient", **NARROW)
    for column in ("", "patient", "rank of first hit"):
        table.add_column(column, overflow="fold")
    for patient in found.patients:
        table.add_row("ours", plain(f"{patient.site} {patient.name}"), rank(patient.rank))
    for method, ranks in found.published_patients.items():
        said = ", ".join(f"{name} {rank(value)}" for name, value in ranks.items())
        table.add_row(f"published, {plain(method)}", plain(said), "")
    return table


def markdown(found: Reproduction) -> str:
    """The whole as a Markdown page."""
    sources = sources_of(found)
    lines = [f"# {found.title}", "", found.citation, ""]
    lines += [f"**{MADE_UP}**", ""] if found.look_alike else []
    lines += [found.verdict, "", "| row | metric | ours | 95 % | n | published | difference | verdict | source |"]
    lines.append("|" + " --- |" * 9)
    for row in found.rows:
        for figure in row.figures:
            cells = (row.name, figure.metric, shown(figure.metric, figure.ours), interval(figure.ci95) or "–")
            n = "–" if figure.n is None else str(figure.n)
            source = f"[{sources.index(row.source) + 1}]" if row.source else ""
            beside = (n, published(figure.metric, figure.published), difference(figure), verdict(figure), source)
            lines.append("| " + " | ".join(_cell(text) for text in (*cells, *beside)) + " |")
    lines += ["", "## Sources", "", *(f"{number}. {text}" for number, text in enumerate(sources, start=1))]
    if found.ours_alone:
        lines += ["", "## Ours, beside which nothing was published", ""]
        lines += [
            f"- {name}: {', '.join(f'{at} {number(value)}' for at, value in of.items())}"
            for name, of in found.ours_alone.items()
        ]
    if found.patients or found.published_patients:
        lines += ["", "## Patients: rank of the first cluster that hits the lesion", ""]
        lines += [f"- ours, {p.site} {p.name}: {rank(p.rank)}" for p in found.patients]
        for method, ranks in found.published_patients.items():
            lines.append(f"- published, {method}: " + ", ".join(f"{n} {rank(value)}" for n, value in ranks.items()))
    for title, texts in sections(found).items():
        lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines) + "\n"


def sources_of(found: Reproduction) -> list[str]:
    """Where the rows were published, each once."""
    return list(dict.fromkeys(row.source for row in found.rows if row.source))


def sections(found: Reproduction) -> dict[str, tuple[str, ...]]:
    """What to know beside the figures, by title."""
    not_run = tuple(f"{arm}: {why}" for arm, why in found.not_run.items())
    said = {"Differs from the published protocol": found.differs, "Left out": found.left_out, "Not run": not_run}
    return {title: texts for title, texts in said.items() if texts}


def shown(metric: str, value: float | None) -> str:
    """A figure of ours; counts are whole."""
    return f"{value:.0f}" if metric in COUNTS and value is not None else number(value)


def published(metric: str, figure: PublishedFigure) -> str:
    """A published figure with its spread, or a range."""
    if figure.value is None:
        return f"{shown(metric, figure.low)}–{shown(metric, figure.high)}"
    return shown(metric, figure.value) + (f" ± {number(figure.sd)}" if figure.sd is not None else "")


def difference(figure: Compared) -> str:
    """Ours less theirs."""
    if figure.metric in COUNTS and figure.difference is not None:
        return minus(f"{figure.difference:+.0f}")
    return signed(figure.difference)


def verdict(figure: Compared) -> str:
    """In words."""
    if figure.verdict == "not comparable":
        return f"not comparable: {figure.why}"
    return f"{figure.verdict} {figure.why}"


def short(figure: Compared) -> str:
    """The same for a narrow column, where a figure that is not compared says why alone."""
    return figure.why if figure.verdict == "not comparable" else f"{figure.verdict} {figure.why}"


def rank(value: int | None) -> str:
    """Of the first cluster that hits; a dash for a patient who was missed."""
    return "–" if value is None else str(value)


def _firsts(row: ComparedRow) -> Iterator[tuple[bool, Compared]]:
    return ((number == 0, figure) for number, figure in enumerate(row.figures))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
