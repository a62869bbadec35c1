"""`normfed metrics`: every figure of an anomaly map, its range, which way is better, chance and source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from normfed_common.citations.bibliography import references
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, say

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_common.metrics.base import Metric


def metrics(
    name: Annotated[str | None, typer.Argument(help="Show only this metric.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the metrics: what each says of an anomaly map, its range, which way is better, chance and source."""
    from normfed_common.metrics.catalogue import BUILT_IN, METRICS
    from normfed_common.wording.parameters import show, show_title

    ordered = [metric.name for metric in BUILT_IN]
    chosen = [name] if name is not None else [*ordered, *(each for each in METRICS if each not in ordered)]
    if as_json:
        say("metrics", [_item(METRICS[each]) for each in chosen])
        return
    console = Console(highlight=False)
    if name is not None:
        metric = METRICS[name]
        show_title(console, name, metric.title, "")
        show(console, [(key, str(value)) for key, value in _facts(metric).items() if value])
        return
    show(console, [(each, _brief(METRICS[each])) for each in chosen], max(map(len, chosen)))
    console.print("\nAll are computed in every study; those of plug-ins where [bold]evaluation.metrics[/] names them.")
    console.print(as_typed("One of them: normfed metrics dice"))


def _brief(metric: Metric) -> str:
    facts = _facts(metric)
    said = f"{facts['range']}, {facts['better']} is better" + (f"; chance {facts['chance']}" if facts["chance"] else "")
    return "\n".join(filter(None, (f"{metric.title}: {metric.about}" if metric.about else metric.title, said)))


def _facts(metric: Metric) -> dict[str, str]:
    return {
        "says": metric.about,
        "range": f"{metric.range}, {metric.unit}",
        "better": "higher" if metric.higher_is_better else "lower",
        "chance": "" if metric.chance is None else f"{metric.chance:g}",
        "needs": "a threshold, from normal people" if metric.needs == "threshold" else "no threshold",
        "source": references(metric.cited),
    }


def _item(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "title": metric.title,
        "about": metric.about,
        "lowest": metric.lowest,
        "highest": metric.highest if metric.most is None else metric.most,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "chance": metric.chance,
        "needs": metric.needs,
        "source": references(metric.cited),
    }
