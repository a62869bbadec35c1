"""Whether a process of this machine works on a run: it holds the lock of the run's study, which the kernel gives back
however that process ends."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from normfed_common.foundation.errors import RunError

LOCKED = "study.yaml"  # every run has one, so that nothing is left behind for the lock
ATTEMPTS, PAUSE_S = 10, 0.05


@contextlib.contextmanager
def at_work(run: Path) -> Iterator[None]:
    """Within, this process works on the run, and nobody else may.

    Raises
    ------
    RunError
        If somebody does already.
    """
    with open(run / LOCKED, "r+", encoding="utf-8") as file:  # on NFS only what may be written can be locked
        for _ in range(ATTEMPTS):  # whoever asks holds it for a moment
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(PAUSE_S)
        else:
            raise RunError(f"{run}: another process is working on it. Wait for its end, or stop it and try again.")
        yield


def is_at_work(run: Path) -> bool:
    """Whether somebody works on it now."""
    try:
        with open(run / LOCKED, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # the run is gone
        return False
    return False
