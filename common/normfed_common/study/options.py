"""The option that every command has which takes a study."""

from __future__ import annotations

from typing import Annotated

import typer

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another value for any key of the study, in YAML, such as federation.rounds=5 or "
        "'comparisons.baselines=[atlas]'. Repeatable; these count last.",
    ),
]
