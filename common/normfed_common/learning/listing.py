"""Learners of a registry as a person reads them on a terminal: how they learn, their parameters and their source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from normfed_common.citations.bibliography import references
from normfed_common.foundation.registry import Registry
from normfed_common.wording.machine import parameters_of
from normfed_common.wording.parameters import Row, parameters, show, show_title, summary

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_common.learning.learner import Learner

Way = Literal["sums", "rounds", "nothing of its own"]


def show_all(
    console: Console, registry: Registry[Any], titles: Mapping[Way, str], learnt_by: Callable[[type[Any]], Way]
) -> None:
    """Print every learner below the title of the way in which it learns; no title of a way in which none does."""
    found: dict[Way, list[Row]] = {way: [] for way in titles}
    for name in registry:
        found[learnt_by(registry[name])].append((name, _brief(registry, name)))
    width = max(map(len, registry))
    for way, rows in found.items():
        if rows:
            console.print(f"[bold]{titles[way]}[/]")
            show(console, rows, width)
            console.print()


def items(registry: Registry[Any], names: Iterable[str], learnt_by: Callable[[type[Any]], Way]) -> list[dict[str, Any]]:
    """The learners of these names for a program to read."""
    return [
        {
            "name": name,
            "title": summary(kind),
            "learnt_by": learnt_by(kind),
            "source": references(kind.cited),
            "plugin": None if (plugin := registry.origin(name)) is None else str(plugin),
            "parameters": parameters_of(kind.Config),
        }
        for name in names
        for kind in (registry[name],)
    ]


def show_one(console: Console, registry: Registry[Any], name: str, learnt_by: Callable[[type[Any]], Way]) -> None:
    """Print one learner, and what its parameters mean."""
    kind = registry[name]
    show_title(console, name, summary(kind), _origin(registry, name))
    rows = [
        ("learnt by", learnt_by(kind)),
        ("source", references(kind.cited) or "none given"),
        *parameters(kind.Config),
    ]
    show(console, rows)


def learnt_by(kind: type[Learner]) -> Way:
    """How a learner learns: by its methods, whatever its parameters."""
    from normfed_common.learning.learner import Learner

    if kind.batches is not Learner.batches:
        return "rounds"
    return "sums" if kind.statistics is not Learner.statistics else "nothing of its own"


def _brief(registry: Registry[Any], name: str) -> str:
    source = references(registry[name].cited)
    return "\n".join(filter(None, (summary(registry[name]), f"({source})" if source else "", _origin(registry, name))))


def _origin(registry: Registry[Any], name: str) -> str:
    plugin = registry.origin(name)
    return "" if plugin is None else f"Of the plug-in {plugin}."
