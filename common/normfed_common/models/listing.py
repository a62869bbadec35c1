"""`normfed models`: what there is, how it learns, its parameters and its source."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from normfed_common.models.catalogue import MODELS
from normfed_common.wording.parameters import Row, parameters, show, show_title

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_common.models.base import NormativeModel

ELSEWHERE = "See the module."  # how a docstring begins that leaves the words to its module's
ONE_CLASS = "one_class"  # the parameter whose own parameters depend on what it names

Way = Literal["sums", "rounds", "nothing of its own"]
TITLES: dict[Way, str] = {
    "sums": "Learnt from sums over people, whose total is the pooled one: federated is the same as pooled",
    "rounds": "Trained by rounds of averaging",
    "nothing of its own": "Baselines and ensembles: nothing is learnt, or what the members learn",
}


def models(
    name: Annotated[str | None, typer.Argument(help="Show only this model, and what its parameters mean.")] = None,
) -> None:
    """List the models: how they learn, what they find abnormal, parameters and source."""
    console = Console(highlight=False)
    if name is None:
        found: dict[Way, list[Row]] = {way: [] for way in TITLES}
        for each in MODELS:
            found[learnt_by(MODELS[each])].append((each, _brief(each)))
        width = max(map(len, MODELS))
        for way, rows in found.items():
            console.print(f"[bold]{TITLES[way]}[/]")
            show(console, rows, width)
            console.print()
        console.print("In a study: [bold]model: atlas[/], or [bold]model: {name: atlas, score: rms}[/].")
        console.print("What the parameters mean: normfed models atlas")
        return
    model = MODELS[name]
    show_title(console, name, summary(model), _origin(name))
    rows = [("learnt by", learnt_by(model)), ("source", model.source or "none given"), *parameters(model.Config)]
    show(console, rows)
    if ONE_CLASS in model.Config.model_fields:
        from normfed_common.scoring.catalogue import NAME, SCORERS

        for head in SCORERS:
            console.print(f"\n{ONE_CLASS}: {{{NAME}: {head}}}, its parameters:")
            show(console, parameters(SCORERS[head].Config))


def learnt_by(model: type[NormativeModel]) -> Way:
    """How a model learns: by its methods, whatever its parameters; one made of others as these do."""
    from normfed_common.learning.learner import Learner
    from normfed_common.models.combined.composite import Composite

    if issubclass(model, Composite):
        return "nothing of its own"
    if model.batches is not Learner.batches:
        return "rounds"
    return "sums" if model.statistics is not Learner.statistics else "nothing of its own"


def summary(model: type[NormativeModel]) -> str:
    """The first paragraph of a model's docstring, or of its module's where that is where the words are."""
    own = (model.__doc__ or ELSEWHERE).strip()
    text = (sys.modules[model.__module__].__doc__ or own) if own.startswith(ELSEWHERE) else own
    return " ".join(text.strip().split("\n\n")[0].split())


def _brief(name: str) -> str:
    source = MODELS[name].source
    return "\n".join(filter(None, (summary(MODELS[name]), f"({source})" if source else "", _origin(name))))


def _origin(name: str) -> str:
    plugin = MODELS.origin(name)
    return "" if plugin is None else f"Of the plug-in {plugin}."
