"""What a fault does to a rehearsal, and what it waits for meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from normfed_common.foundation.errors import RunError
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.events.kinds import RoundDone, RunEvent
from normfed_server.runs.following import Tail
from normfed_server.state.ledger import State

Disturbance = Callable[[Rehearsal, str, np.random.Generator], int]  # does its worst to a run; returns how often
WITHIN_S = 3600.0  # a run is to end
ROUND_S = 600.0  # a round is to end
EXCHANGE_S = 600.0  # an exchange of a secure sum is to end


def is_open(rehearsal: Rehearsal, run: str) -> bool:
    """Whether the run goes on."""
    return rehearsal.home.ledger.get(run).state is State.OPEN


def rounds_of(rehearsal: Rehearsal, run: str) -> int:
    """How many rounds are finished."""
    return happened(rehearsal.home.runs / run / "events.jsonl", RoundDone)


def happened(events: Path, kind: type[RunEvent]) -> int:
    """How many events of a kind a run's log holds."""
    return sum(isinstance(event, kind) for event in Tail(events).new())


def until_a_round_after(rounds: int, rehearsal: Rehearsal, run: str) -> None:
    """Wait until more rounds are finished, or the run is over."""
    until(lambda: rounds_of(rehearsal, run) > rounds or not is_open(rehearsal, run), ROUND_S)


def until(condition: Callable[[], bool], within_s: float) -> None:
    """Wait for something.

    Raises
    ------
    RunError
        If it takes longer.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise RunError(f"nothing happened within {within_s:.0f} s")
        time.sleep(0.2)
