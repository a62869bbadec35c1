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
from normfed_common.learning.learner import SUMS

MEMORY = "memory/"


@dataclass
class Progress:
    """How far an arm has come, and everything that its strategy carries from round to round.

    Parameters
    ----------
    models
        The global model; of clustered strategies one per cluster.
    sums
        Of all sites, by the names that a model shares them by.
    phase, turn
        The phase that the arm is in, and how many of its rounds are finished.
    round
        Averaged rounds finished, over all phases.
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
    sums: Arrays = field(default_factory=dict)
    phase: int = 0
    turn: int = 0
    round: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    clusters: dict[str, int] = field(default_factory=dict)
    memory: Arrays = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def model_of(self, site: str) -> Arrays:
        """The model that a site is served: its cluster's, or that of most sites for one that has none."""
        return self.models[model_number(self.clusters, site)] | self.sums

    def whole(self) -> list[Arrays]:
        """All models, each with the sums."""
        return [model | self.sums for model in self.models]


def save(path: Path, progress: Progress, study: str) -> None:
    """Write an arm's progress; what was there becomes the second copy."""
    header = {
        "phase": progress.phase,
        "turn": progress.turn,
        "round": progress.round,
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
    named.save(path, named.stacked(progress.models) | memory | progress.sums, header)


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
    weights = {name: array for name, array in loaded.items() if not name.startswith((MEMORY, SUMS))}
    return Progress(
        models=named.unstacked(weights) or [{}],  # a model of sums alone has no weights
        sums={name: array for name, array in loaded.items() if name.startswith(SUMS)},
        phase=header["phase"],
        turn=header["turn"],
        round=header["round"],
        history=header["history"],
        clusters=header["clusters"],
        memory=memory,
        used=header["used"],
        missed=header["missed"],
        notes=header["notes"],
    )
