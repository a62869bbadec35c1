"""`normfed models`: what there is, how it learns, its parameters and its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from normfed_common.learning import listing
from normfed_common.learning.listing import Way, items, show_all, show_one
from normfed_common.models.catalogue import MODELS
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, say
from normfed_common.wording.parameters import parameters, show

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_common.models.base import NormativeModel

ONE_CLASS = "one_class"  # the parameter whose own parameters depend on what it names

TITLES: dict[Way, str] = {
    "sums": "Learnt from sums over people, whose total is the pooled one: federated is the same as pooled",
    "rounds": "Trained by rounds of averaging",
    "nothing of its own": "Baselines and ensembles: nothing is learnt, or what the members learn",
}


def models(
    name: Annotated[
        str | None,
        typer.Argument(help="Show only this model, and what its parameters mean.", autocompletion=MODELS.beginning),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models: how they learn, what they find abnormal, parameters and source."""
    if as_json:
        say("models", items(MODELS, MODELS if name is None else (name,), learnt_by))
        return
    console = Console(highlight=False)
    if name is None:
        show_all(console, MODELS, TITLES, learnt_by)
        console.print("In a study: [bold]model: atlas[/], or [bold]model: {name: atlas, score: rms}[/].")
        console.print(as_typed("What the parameters mean: normfed models atlas"))
        return
    show_one(console, MODELS, name, learnt_by)
    if ONE_CLASS in MODELS[name].Config.model_fields:
        from normfed_common.scoring.catalogue import NAME, SCORERS

        for head in SCORERS:
            console.print(f"\n{ONE_CLASS}: {{{NAME}: {head}}}, its parameters:")
            show(console, parameters(SCORERS[head].Config))


def learnt_by(model: type[NormativeModel]) -> Way:
    """How a model learns: by its methods, whatever its parameters; one made of others as these do."""
    from normfed_common.models.combined.composite import Composite

    return "nothing of its own" if issubclass(model, Composite) else listing.learnt_by(model)
