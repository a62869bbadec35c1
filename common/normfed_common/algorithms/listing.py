"""`normfed strategies`: what there is, what each shares and does, its parameters and its source."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from normfed_common.algorithms.table import ALGORITHMS, Algorithm
from normfed_common.citations.bibliography import references
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, parameters_of, say
from normfed_common.wording.parameters import defaults, parameters, show, show_title


def strategies(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show only this strategy, and what its parameters mean.", autocompletion=ALGORITHMS.beginning
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the strategies: what leaves a site, what sites minimise, what the server does, parameters and source."""
    if as_json:
        say("strategies", [_item(each, ALGORITHMS[each]) for each in (ALGORITHMS if name is None else (name,))])
        return
    console = Console(highlight=False)
    if name is None:
        width = max(map(len, ALGORITHMS))
        show(console, [_brief(each, ALGORITHMS[each]) for each in ALGORITHMS], width)
        console.print("\nIn a study: [bold]strategy: ditto[/], or [bold]strategy: {name: ditto, lambda: 0.5}[/].")
        console.print(as_typed("What the parameters mean: normfed strategies ditto"))
        return
    row = ALGORITHMS[name]
    show_title(console, name, row.title, references(row.cited))
    what = [("shared", row.sharing), ("at the site", objective(row)), ("at the server", row.server_step)]
    show(console, [*what, *parameters(row.parameters)])


def objective(row: Algorithm) -> str:
    """What a site does, in words."""
    return f"{row.objective}, then fine-tuned" if row.fine_tuned else row.objective


def _item(name: str, row: Algorithm) -> dict[str, Any]:
    return {
        "name": name,
        "title": row.title,
        "source": references(row.cited),
        "shared": row.sharing,
        "at_site": objective(row),
        "at_server": row.server_step,
        "parameters": parameters_of(row.parameters),
    }


def _brief(name: str, row: Algorithm) -> tuple[str, str]:
    does = f"shares {row.sharing}; at the site {objective(row)}; at the server {row.server_step}"
    return name, "\n".join(filter(None, (row.in_print, does, defaults(row.parameters))))
