"""`normfed splits`: by what a study can divide people anew, and its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from normfed_common.citations.bibliography import references
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, parameters_of, say

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_simulation.splits.base import Split


def splits(
    name: Annotated[str | None, typer.Argument(help="Show only this split, and what its parameters mean.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the splits: ways to divide a dataset's people among other sites, for controlled experiments."""
    from normfed_common.wording.parameters import parameters, show, show_title, summary
    from normfed_simulation.splits.catalogue import SPLITS

    if as_json:
        found = {each: SPLITS[each] for each in (SPLITS if name is None else (name,))}
        say("splits", [{"name": each, **_facts(split)} for each, split in found.items()])
        return
    console = Console(highlight=False)
    if name is not None:
        split = SPLITS[name]
        show_title(console, name, summary(split), "")
        show(console, [("source", references(split.cited) or "none given"), *parameters(split.Config)])
        return
    show(console, [(each, summary(SPLITS[each])) for each in SPLITS], max(map(len, SPLITS)))
    console.print()
    console.print("In a study: [bold]data: {split: {by: dirichlet, over: age, alpha: 0.5, sites: 6}}[/].")
    console.print(as_typed("Look at one: normfed inspect DIR --study STUDY --page PAGE.html"))
    console.print(as_typed("What the parameters mean: normfed splits dirichlet"))


def _facts(split: type[Split]) -> dict[str, Any]:
    from normfed_common.wording.parameters import summary

    return {"title": summary(split), "source": references(split.cited), "parameters": parameters_of(split.Config)}
