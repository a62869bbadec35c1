"""Locks between processes, held by the kernel: whoever holds one loses it however that process ends."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for the lock file ``path`` and hold it: around reading a file, changing it and writing it back.

    It excludes threads as well as processes, but is not re-entrant: whoever holds it must not ask for it again.
    """
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
