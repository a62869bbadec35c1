"""An arm's progress on disk after every round, and that before it: one that is damaged costs a round."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normfed_common.algorithms.clusters import model_number
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import DamagedError, RunError

MEMORY = "memory/"


@dataclass
class Progress:
    """How far an arm has come, and everything that its strategy carries from round to round.

    Parameters
    ----------
    models
        The global model; of clustered strategies one a cluster.
    round
        Rounds finished.
    stages
        Stages of sums finished.
    fine_tuned
        Whether every site trained the last model on for itself.
    history
        One entry per round: loss, outcome and seconds per site, bytes.
    clusters
        Site to the number of its model; sites that are not in it have the first.
    memory
        What the server step keeps: momentum, control variate.
    used
        Site to the last round in which an update of it was used.
    missed
        Sites whose sums are not in the model, or that did not train it on, and why.
    notes
        Site to what it said of the method, such as that its sums left as means of cubes.
    """

    models: list[Arrays]
    round: int = 0
    stages: int = 0
    fine_tuned: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    clusters: dict[str, int] = field(default_factory=dict)
    memory: Arrays = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def model_of(self, site: str) -> Arrays:
        """The model that a site is served: its cluster's, or that of most sites for one that has none."""
        return self.models[model_number(self.clusters, site)]


def save(path: Path, progress: Progress, study: str) -> None:
    """Write an arm's progress; what was there becomes the second copy."""
    header = {
        "round": progress.round,
        "stages": progress.stages,
        "fine_tuned": progress.fine_tuned,
        "history": progress.history,
        "clusters": progress.clusters,
        "used": progress.used,
        "missed": progress.missed,
        "notes": progress.notes,
        "study": study,
    }
    memory = {MEMORY + name: array for name, array in progress.memory.items()}
    if path.exists():
        os.replace(path, previous(path))
    named.save(path, named.stacked(progress.models) | memory, header)


def previous(path: Path) -> Path:
    """Where the progress before the last is."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def recover(path: Path, study: str, damaged: Callable[[Path, DamagedError], None]) -> Progress | None:
    """Read an arm's progress, or else that before it; None where there is neither.

    Parameters
    ----------
    damaged
        Told of each file that cannot be used; takes it out of the way.

    Raises
    ------
    RunError
        If it is of another study.
    """
    for copy in (path, previous(path)):
        try:
            found = load(copy, study)
        except DamagedError as error:
            damaged(copy, error)
            continue
        if found is not None:
            return found
    return None


def load(path: Path, study: str) -> Progress | None:
    """Read an arm's progress; None where there is none yet.

    Raises
    ------
    DamagedError
        If it is damaged.
    RunError
        If it is of another study.
    """
    if not path.exists():
        return None
    loaded, header = named.read(path)
    if header.get("study") != study:
        raise RunError(
            f"{path}: belongs to another study than {path.parents[2] / 'study.yaml'}. Do not edit study.yaml of a run."
        )
    memory = {name.removeprefix(MEMORY): array for name, array in loaded.items() if name.startswith(MEMORY)}
    return Progress(
        models=named.unstacked({name: array for name, array in loaded.items() if not name.startswith(MEMORY)}),
        round=header["round"],
        stages=header["stages"],
        fine_tuned=header["fine_tuned"],
        history=header["history"],
        clusters=header["clusters"],
        memory=memory,
        used=header["used"],
        missed=header["missed"],
        notes=header["notes"],
    )
