"""An arm's progress on disk after every round: one safetensors file, replaced atomically."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normfed_common import arrays as named
from normfed_common.arrays import Arrays
from normfed_common.errors import RunError


@dataclass
class Progress:
    """How far an arm has come.

    Parameters
    ----------
    round
        Rounds finished.
    stages
        Stages of sums finished.
    history
        One entry per round: round, loss per site, seconds.
    arrays
        The global model.
    """

    round: int = 0
    stages: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)


def save(path: Path, progress: Progress, study: str) -> None:
    """Write an arm's progress."""
    header = {"round": progress.round, "stages": progress.stages, "history": progress.history, "study": study}
    named.save(path, progress.arrays, header)


def load(path: Path, study: str) -> Progress | None:
    """Read an arm's progress; None where there is none yet.

    Raises
    ------
    RunError
        If it is damaged, or of another study.
    """
    if not path.exists():
        return None
    loaded = named.load(path)
    header = named.header(path)
    if header.get("study") != study:
        raise RunError(
            f"{path}: belongs to another study than {path.parents[2] / 'study.yaml'}. Do not edit study.yaml of a run."
        )
    return Progress(header["round"], header["stages"], header["history"], loaded)
