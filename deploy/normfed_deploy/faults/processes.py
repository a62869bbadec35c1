"""Processes that are killed, stopped for a while, or replaced by ones that lie."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import psutil

from normfed_deploy.faults.disturbance import WITHIN_S, Disturbance, is_open, rounds_of, until, until_a_round_after
from normfed_deploy.rehearsal import Rehearsal, Role


def kill(role: Role, times: int, site: str | None = None) -> Disturbance:
    """SIGKILL at random moments of training, with at least one round finished between two of them."""

    return partial(_at_random_moments, times, lambda rehearsal, run: killed(rehearsal, role, site, run))


def everything(times: int) -> Disturbance:
    """The power goes at the server and at every site within a moment, and comes back."""
    return partial(_at_random_moments, times, lambda rehearsal, _: power_cut(rehearsal))


def killed(rehearsal: Rehearsal, role: Role, site: str | None, run: str) -> bool:
    """SIGKILL now; False if nobody plays the role, or the run is over. Whoever is not started again by others is."""
    pid = rehearsal.pid(role, site, run)
    if pid is None or not is_open(rehearsal, run):
        return False
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, signal.SIGKILL)
    if role in ("server", "site"):
        name = "server" if role == "server" else str(site)
        rehearsal.stop(name)
        rehearsal.start(name)
    return True


def power_cut(rehearsal: Rehearsal) -> bool:
    """SIGKILL to all processes of the server and of every site, and all started again; always True, as `killed`."""
    heads = [rehearsal.pid("server"), *(rehearsal.pid("site", site) for site in rehearsal.sites)]
    for process in [process for head in heads if head is not None for process in _family(head)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    names = ("server", *rehearsal.sites)
    for name in names:
        rehearsal.stop(name)
    for name in names:
        rehearsal.start(name)
    return True


def pause(role: Role, seconds: float, times: int = 1) -> Disturbance:
    """SIGSTOP, as a machine that swaps or sleeps."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        for _ in range(times):
            time.sleep(float(rng.uniform(0.5, 4.0)))
            pid = rehearsal.pid(role, run=run)
            if pid is None:
                continue
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(pid, signal.SIGCONT)
        return times

    return disturb


def lie(kind: str) -> Disturbance:
    """A site lies from now on; afterwards it is honest again."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        rehearsal.stop("b")
        home = str(rehearsal.folder / "b")
        command = [sys.executable, "-m", "normfed_deploy.tampering", "start", kind, home]
        rehearsal.start("b", command=command)
        until(lambda: not is_open(rehearsal, run), WITHIN_S)
        rehearsal.stop("b")
        rehearsal.start("b")
        return 1

    return disturb


def _at_random_moments(
    times: int, strike: Callable[[Rehearsal, str], bool], rehearsal: Rehearsal, run: str, rng: np.random.Generator
) -> int:
    """Strike, which says whether it hit anything, with at least one round finished between two hits; returns how often
    it did."""
    count = 0
    while count < times and is_open(rehearsal, run):
        time.sleep(float(rng.uniform(0.2, 6.0)))
        rounds = rounds_of(rehearsal, run)
        if strike(rehearsal, run):
            count += 1
            until_a_round_after(rounds, rehearsal, run)
    return count


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it."""
    head = psutil.Process(pid)
    return [head, *head.children(recursive=True)]
