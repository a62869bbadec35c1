"""`normfed studies`: the studies that come with normfed, what each answers, what data it needs and how it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from normfed_common import completing
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, say

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_common.study.config import StudyConfig

NO_DATA = "none: its people are made on this machine"


def studies(
    name: Annotated[
        str | None, typer.Argument(help="Print this study's file.", autocompletion=completing.shipped_studies)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the studies that come with normfed: what each answers, what data it needs, how to run it."""
    from normfed_common.shipped import names, shipped_study
    from normfed_common.studies import load_study
    from normfed_common.wording.parameters import show

    if name is not None and not as_json:
        typer.echo(shipped_study(name).read_text(encoding="utf-8").rstrip())
        return
    chosen = [_item(each, load_study(shipped_study(each))) for each in ([name] if name is not None else names())]
    if as_json:
        say("studies", chosen)
        return
    console = Console(highlight=False)
    for study in chosen:
        console.print(f"[bold]{study['name']}[/]")
        rows = [("answers", study["answers"]), ("data", study["data"]), ("run", as_typed(study["run"]))]
        show(console, rows)
    console.print(as_typed("\nPrint one: normfed studies demo. One of your own: normfed init --like demo"))
    console.print(as_typed("Published studies, made again: normfed reproduce"))


def _item(name: str, study: StudyConfig) -> dict[str, str]:
    from normfed_common.study.domain_shift import NOTHING

    command = "normfed simulate" if study.domain_shift == NOTHING else "normfed study domain-shift"
    needs, option = NO_DATA, ""
    if study.data.phantom is None:
        sites = f" with the sites {', '.join(study.data.sites)}" if study.data.sites else " with a column `site`"
        needs = f"{' and '.join(study.data.modalities)} of a BIDS dataset{sites}"
        option = " --data DIR"
        if study.data.dataset is not None:
            needs = f"{study.data.dataset['name']}, see `normfed datasets {study.data.dataset['name']}`"
    return {"name": name, "answers": study.description, "data": needs, "run": f"{command} {name}{option}"}
