"""`normfed splits`: by what a study can divide people anew, and its parameters."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from normfed_common.wording.commands import as_typed


def splits(
    name: Annotated[str | None, typer.Argument(help="Show only this split, and what its parameters mean.")] = None,
) -> None:
    """List the splits: ways to divide a dataset's people among other sites, for controlled experiments."""
    from normfed_common.wording.parameters import parameters, show, show_title, summary
    from normfed_simulation.splits.catalogue import SPLITS

    console = Console(highlight=False)
    if name is not None:
        split = SPLITS[name]
        show_title(console, name, summary(split), "")
        show(console, [("source", split.source or "none given"), *parameters(split.Config)])
        return
    show(console, [(each, summary(SPLITS[each])) for each in SPLITS], max(map(len, SPLITS)))
    console.print()
    console.print("In a study: [bold]data: {split: {by: dirichlet, over: age, alpha: 0.5, sites: 6}}[/].")
    console.print(as_typed("Look at one: normfed inspect DIR --study STUDY --page PAGE.html"))
    console.print(as_typed("What the parameters mean: normfed splits dirichlet"))
