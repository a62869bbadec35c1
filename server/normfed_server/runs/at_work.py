"""Whether a process of this machine works on a run: it holds the lock of the run's study, which the kernel gives back
however that process ends."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCKED = "study.yaml"  # every run has one, so that nothing is left behind for the lock


@contextlib.contextmanager
def at_work(run: Path) -> Iterator[None]:
    """Within, this process works on the run; several may, and one may do so twice."""
    with open(run / LOCKED, encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_at_work(run: Path) -> bool:
    """Whether somebody works on it now."""
    try:
        with open(run / LOCKED, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the run is gone
        return False
    return False
