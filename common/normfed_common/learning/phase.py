"""What is learnt after what: a learner's phases, and the rounds that they take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")  # as the wire takes it


@dataclass(frozen=True)
class Phase:
    """One phase of learning.

    Parameters
    ----------
    name
        1 to 60 letters, digits, ``-`` and ``_``; unique among a learner's phases.
    kind
        ``averaged``: parts of the network are trained at the sites, and their arrays averaged by the strategy.
        ``summed``: every site sends sums over its people (sufficient statistics), which the server adds.
    parts
        Parts of the network that an averaged phase trains and shares; all when empty.
    rounds
        At least 1. Averaged: the number of rounds, the study's ``federation.rounds`` when absent. Summed: the most
        rounds, one when absent; the phase ends earlier if `Learner.absorb` says that nothing changes any more.

    Raises
    ------
    ValueError
        If the name is not one, or there are no rounds.
    """

    name: str
    kind: Literal["averaged", "summed"]
    parts: tuple[str, ...] = ()
    rounds: int | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"a phase is called {self.name!r}; expected 1 to 60 letters, digits, - and _")
        if self.rounds is not None and self.rounds < 1:
            raise ValueError(f"the phase {self.name} takes {self.rounds} rounds; expected at least 1")

    def turns(self, rounds: int) -> int:
        """Upper bound on this phase's rounds, given the study's ``rounds``."""
        if self.rounds is not None:
            return self.rounds
        return rounds if self.kind == "averaged" else 1


def averaged_rounds(phases: Sequence[Phase], rounds: int) -> int:
    """Rounds of all averaged phases; they are numbered from 1, on from one phase to the next."""
    return sum(phase.turns(rounds) for phase in phases if phase.kind == "averaged")


def phase_of_round(phases: Sequence[Phase], rounds: int, number: int) -> Phase | None:
    """The averaged phase that a round belongs to; None beyond the last."""
    for phase in phases:
        if phase.kind == "averaged":
            number -= phase.turns(rounds)
            if number <= 0:
                return phase
    return None
