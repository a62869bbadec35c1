"""The option that every command has which takes a study."""

from __future__ import annotations

from typing import Annotated

import typer


def completed(incomplete: str) -> list[str]:
    """Keys of a study, for shells."""
    from normfed_common.study.config import StudyConfig
    from normfed_common.study.validation import paths

    return [f"{path}=" for path in paths(StudyConfig) if path.startswith(incomplete)]


SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=completed,
        help="Another value for any key of the study, in YAML, such as federation.rounds=5 or "
        "comparisons.baselines.0=atlas. Repeatable; these count last.",
    ),
]
