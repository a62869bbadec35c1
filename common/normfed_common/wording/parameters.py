"""Named things and their parameters as a person reads them on a terminal: type, bounds, default, what they mean."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normfed_common.wording.keys import keys_of

Row = tuple[str, str]

INDENT = 2
ELSEWHERE = "See the module."  # how a docstring begins that leaves the words to its module's


def show(console: Console, rows: Iterable[Row], width: int = 0) -> None:
    """Print names and what is said of each, in a column of its own.

    Parameters
    ----------
    rows
        Names, each with its text.
    width
        Least width of names, in characters, so that several tables are aligned.
    """
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
    table.add_column(min_width=INDENT + width, style="bold", no_wrap=True)
    table.add_column(overflow="fold")  # a DOI may be longer than a line
    for name, text in rows:
        table.add_row(Text(" " * INDENT + name), Text(text))
    console.print(table)


def show_title(console: Console, name: str, title: str, source: str) -> None:
    """Print what one of them is, and below it where it was published, where anything is said of that."""
    console.print(Text.assemble((name, "bold"), f": {title.rstrip('.')}. {source}".rstrip()))


def summary(kind: type) -> str:
    """The first paragraph of a class's docstring, or of its module's where that is where the words are."""
    own = (kind.__doc__ or ELSEWHERE).strip()
    text = (sys.modules[kind.__module__].__doc__ or own) if own.startswith(ELSEWHERE) else own
    return " ".join(text.strip().split("\n\n")[0].split())


def parameters(config: type[BaseModel]) -> list[Row]:
    """Every parameter of a configuration, and of those within it, by the name that a study writes: what it means, and
    below that its type, bounds and default, such as ``number, 0 to 20; default 2``."""
    return [
        (key.path, "\n".join(filter(None, (key.description, key.facts)))) for key in keys_of(config, sections=False)
    ]


def defaults(config: type[BaseModel]) -> str:
    """Every parameter with its default, on one line: ``momentum: default 0.9, clusters: required``."""
    return ", ".join(f"{key.path}: {key.facts.rpartition('; ')[2]}" for key in keys_of(config))
