"""`normfed transforms`: what can be done to every scan before a model sees it, how it is learnt, parameters, source."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from normfed_common.learning.listing import Way, items, learnt_by, show_all, show_one
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, say

TITLES: dict[Way, str] = {
    "nothing of its own": "Of each scan by itself: nothing is learnt",
    "sums": "Learnt from sums over people, whose total is the pooled one: federated is the same as pooled",
    "rounds": "Trained by rounds of averaging",
}


def transforms(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show only this transform, and what its parameters mean.", autocompletion=TRANSFORMS.beginning
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the transforms of scans, such as harmonization between scanners: how they learn, parameters and source."""
    if as_json:
        say("transforms", items(TRANSFORMS, TRANSFORMS if name is None else (name,), learnt_by))
        return
    console = Console(highlight=False)
    if name is None:
        show_all(console, TRANSFORMS, TITLES, learnt_by)
        console.print(
            r"In a study: [bold]transforms: \[nyul][/], or [bold]transforms: \[{name: z-score, robust: true}][/]."
        )
        console.print(as_typed("What the parameters mean: normfed transforms nyul"))
        return
    show_one(console, TRANSFORMS, name, learnt_by)
    needed = [key for key, field in TRANSFORMS[name].Config.model_fields.items() if field.is_required()]
    entry = f"{{name: {name}, {', '.join(f'{key}: ...' for key in needed)}}}" if needed else name
    console.print(rf"In a study: [bold]transforms: \[{entry}][/].", soft_wrap=True)
