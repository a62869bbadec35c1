"""The options that several commands have, and what they change in a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from normfed_common import completing
from normfed_common.study.changes import parsed


class EngineName(StrEnum):
    """Who carries the messages."""

    local = "local"
    ray = "ray"


StudyArgument = Annotated[
    Path | None,
    typer.Argument(
        help="A study file, or the name of one of `normfed studies`. Default: the demo, with six synthetic hospitals.",
        autocompletion=completing.studies,
    ),
]
DataOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A BIDS dataset whose participants.tsv has a column `site`, or a public dataset as it came; see "
        "`normfed datasets`. Repeatable: healthy people of one and patients of another, say."
    ),
]
OutOption = Annotated[Path, typer.Option(help="Folder in which the run folder is made.")]
EngineOption = Annotated[
    EngineName, typer.Option(help="local: this process and its workers; ray: Flower's simulation runtime.")
]
RoundsOption = Annotated[int | None, typer.Option(min=1, help="Overrides the study's federation.rounds.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Overrides the study's seed.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:1 for the second GPU.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=0, help="Worker processes; 0 does all the work in this one. Default: one per core.")
]
TimesOption = Annotated[
    bool, typer.Option("--hospital-times", help="Simulate how late real hospitals answer, on a virtual clock.")
]
AttackOption = Annotated[
    list[str] | None,
    typer.Option(help="Make a site malicious, as SITE:ATTACK; attacks are sign-flip, scale, noise, nan. Repeatable."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the report's path.")]
JsonLinesOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object per line, for scripts; those of training follow events.schema.json in "
        "normfed_server/events, and `scanned` and `answered` say how far an evaluation is.",
    ),
]


def changes_of(
    rounds: int | None, seed: int | None, own: Mapping[str, Any], said: Sequence[str] | None
) -> dict[str, Any]:
    """Values for `load_study` of options that every command has.

    Parameters
    ----------
    own
        Of options that only the command has.
    said
        By `--set`, which count last.
    """
    usual = {"federation.rounds": rounds, "seed": seed}
    changes = {key: value for key, value in usual.items() if value is not None} | dict(own)
    last = parsed(said or ())
    return {key: value for key, value in changes.items() if key not in last} | last
