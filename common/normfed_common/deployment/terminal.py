"""Text and tables for people at a terminal of any width: words wrap, and what they may want to copy is never cut."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain

NOTHING = "–"  # of a cell
WIDEST = 10_000  # columns; no table is


def wide_in_a_file() -> Console:
    """Standard output; a file has no width, so that every row of a table is one line there."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDEST)


def print_wrapped(console: Console, text: str, margin: str, first: str | None = None) -> None:
    """Print a text behind a margin; a path or a hash that is longer than a line stays whole.

    Parameters
    ----------
    margin
        In front of every line; in front of the first one ``first``, if given, which may have rich's markup.
    """
    width = max(console.width - len(margin), 20)
    for number, line in enumerate(textwrap.wrap(as_typed(text), width, break_long_words=False, break_on_hyphens=False)):
        before = first if first is not None and number == 0 else margin
        console.print(before + plain(line), soft_wrap=True, highlight=False)


def print_table(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str]
) -> None:
    """Print a table where it fits with every word whole, if need be with a line per item; else a paragraph per row,
    whose lines end between words.

    Parameters
    ----------
    columns
        The first of which names the row; items of a cell have commas between them.
    numbers
        Columns that are aligned to the right.
    """
    natural = console.options.update(width=WIDEST)
    for between in (" ", "\n"):
        table = Table()
        for column in columns:
            table.add_column(column.replace(" ", between), justify="right" if column in numbers else "left")
        for name, *values in rows:
            table.add_row(plain(name), *(plain(value).replace(", ", f",{between}") for value in values))
        if Measurement.get(console, natural, table).maximum <= console.width:
            console.print(table)
            return
    for name, *values in rows:
        said = [f"{column} {value}" for column, value in zip(columns[1:], values, strict=True) if value != NOTHING]
        console.print(f"[bold]{plain(name)}[/]", highlight=False, soft_wrap=True)
        print_wrapped(console, "; ".join(said), "  ")
