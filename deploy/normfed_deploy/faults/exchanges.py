"""Kills in the exchanges of secure sums: whenever a site has answered one, while the next is under way.

A sum takes five: keys, shares, the masked part, who is in the sum, and the masks off. What a site has answered stands
in its own log, so that a fault meets the exchange that it is meant for, however slow the machine is.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from normfed_deploy.faults.disturbance import EXCHANGE_S, Disturbance, is_open, until
from normfed_deploy.faults.processes import killed, power_cut
from normfed_deploy.rehearsal import Rehearsal, Role

IN_A_SUM = 5
_ANSWERED = re.compile(
    r"((?:query\.(?:keys|shares|survivors|unmask)|train\.(?:round|sums)) \S+(?: round \d+)?): worked"
)


def answered(log: Path) -> list[str]:
    """The exchanges of secure sums that a site answered, in the order of its log: "query.keys federated round 1"."""
    return _ANSWERED.findall(log.read_text(encoding="utf-8")) if log.exists() else []


def kill_in_exchanges(site: str, every: int, *roles: Role) -> Disturbance:
    """SIGKILL in every so-manyth exchange of a run, to each of the roles in turn."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        count = 0
        for _, role in zip(_exchanges(rehearsal, run, site, every, rng), itertools.cycle(roles), strict=False):
            until(partial(_played, rehearsal, role, site, run), EXCHANGE_S)
            count += killed(rehearsal, role, site, run)
        return count

    return disturb


def everything_in_exchanges(site: str, every: int) -> Disturbance:
    """The power goes at the server and at every site, in every so-manyth exchange of a run."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        return sum(power_cut(rehearsal) for _ in _exchanges(rehearsal, run, site, every, rng))

    return disturb


def _exchanges(rehearsal: Rehearsal, run: str, site: str, every: int, rng: np.random.Generator) -> Iterator[int]:
    """A random moment within each exchange, from the first keys to the end of the run."""
    log = rehearsal.folder / site / "state" / run / "site.log"
    for before in itertools.count(step=every):
        until(partial(_reached, log, before, rehearsal, run), EXCHANGE_S)
        if not is_open(rehearsal, run):
            return
        time.sleep(float(rng.uniform(0.0, 1.5)))
        yield before


def _reached(log: Path, exchanges: int, rehearsal: Rehearsal, run: str) -> bool:
    """Whether so many exchanges were answered, or the run is over."""
    return len(answered(log)) >= exchanges or not is_open(rehearsal, run)


def _played(rehearsal: Rehearsal, role: Role, site: str, run: str) -> bool:
    """Whether there is a process to kill, or the run is over."""
    return rehearsal.pid(role, site, run) is not None or not is_open(rehearsal, run)
