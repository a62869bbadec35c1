"""Whether a process of this machine works on a run: it holds the lock of the run's study, which the kernel gives back
however that process ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from normfed_common.foundation.errors import RunError
from normfed_common.foundation.locks import alone, is_held

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
    with contextlib.ExitStack() as held:
        for _ in range(ATTEMPTS):  # whoever asks holds it for a moment
            with contextlib.suppress(BlockingIOError):
                held.enter_context(alone(run / LOCKED))
                break
            time.sleep(PAUSE_S)
        else:
            raise RunError(f"{run}: another process is working on it. Wait for its end, or stop it and try again.")
        yield


def is_at_work(run: Path) -> bool:
    """Whether somebody works on it now."""
    try:
        return is_held(run / LOCKED)
    except FileNotFoundError:  # the run is gone
        return False
