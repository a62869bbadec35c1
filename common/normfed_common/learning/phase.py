"""What is learnt after what: a learner's phases, and the rounds that they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Phase:
    """One phase of learning.

    Parameters
    ----------
    name
        Letters, digits, ``-`` and ``_``; unique among a learner's phases.
    kind
        ``averaged``: parts of the network are trained at the sites, and their arrays averaged by the strategy.
        ``summed``: every site sends sums over its people (sufficient statistics), which the server adds.
    parts
        Of the network those that an averaged phase trains and shares; all when empty.
    rounds
        Averaged: how many, the study's ``federation.rounds`` when absent. Summed: at most so many, one when absent;
        the phase ends before if `Learner.absorb` says that nothing changes any more.
    """

    name: str
    kind: Literal["averaged", "summed"]
    parts: tuple[str, ...] = ()
    rounds: int | None = None

    def turns(self, rounds: int) -> int:
        """At most so many rounds, of a study with ``rounds``."""
        if self.rounds is not None:
            return self.rounds
        return rounds if self.kind == "averaged" else 1


def averaged_rounds(phases: Sequence[Phase], rounds: int) -> int:
    """Rounds of all averaged phases; they are numbered from 1 through all of them."""
    return sum(phase.turns(rounds) for phase in phases if phase.kind == "averaged")


def phase_of_round(phases: Sequence[Phase], rounds: int, number: int) -> Phase | None:
    """The averaged phase that a round belongs to; None beyond the last."""
    for phase in phases:
        if phase.kind == "averaged":
            number -= phase.turns(rounds)
            if number <= 0:
                return phase
    return None
