"""`normfed strategies`: what there is, what each shares and does, its parameters and its source."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from normfed_common.algorithms.table import ALGORITHMS, Algorithm


def strategies(
    name: Annotated[str | None, typer.Argument(help="Show only this strategy, and what its parameters mean.")] = None,
) -> None:
    """List the strategies: what leaves a site, what sites minimise, what the server does, parameters and source."""
    console = Console()
    if name is None:
        for each in ALGORITHMS:
            _brief(console, each, ALGORITHMS[each])
        console.print("In a study: [bold]strategy: ditto[/], or [bold]strategy: {name: ditto, lambda: 0.5}[/].")
        console.print("What the parameters mean: normfed strategies ditto", highlight=False)
        return
    row = ALGORITHMS[name]
    console.print(f"[bold]{name}[/]: {escape(row.title)}. {escape(row.source)}", highlight=False)
    for what, value in (("shared", row.sharing), ("at the site", objective(row)), ("at the server", row.server_step)):
        console.print(f"  {what:<14} {value}", highlight=False)
    for key, field in row.parameters.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        text = f"  {field.alias or key:<14} {default}. {field.description or ''}"
        console.print(escape(text), highlight=False, soft_wrap=True)


def objective(row: Algorithm) -> str:
    """What a site does, in words."""
    return f"{row.objective}, then fine-tuned" if row.fine_tuned else row.objective


def _brief(console: Console, name: str, row: Algorithm) -> None:
    given = [
        f"{field.alias or key}{'' if field.is_required() else f' {_short(field.default)}'}"
        for key, field in row.parameters.model_fields.items()
    ]
    lines = (
        f"[bold]{name:<15}[/]{escape(row.title)} [dim]({escape(row.source)})[/]",
        f"{'':<15}shares {row.sharing}; at the site {objective(row)}; at the server {row.server_step}",
        *([f"{'':<15}[dim]{escape(', '.join(given))}[/]"] if given else []),
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return "auto" if value is None else str(value)
