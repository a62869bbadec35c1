"""Locks between processes, held by the kernel: whoever holds one loses it however that process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for the lock file ``path``, made where there is none, and hold it: around reading a file, changing it and
    writing it back.

    It excludes threads as well as processes, but is not re-entrant: whoever holds it must not ask for it again.
    """
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def alone(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file or folder that is there.

    Raises
    ------
    BlockingIOError
        If somebody else holds or shares it, and this process does not wait.
    OSError
        If it cannot be opened for writing, or its file system has no locks.
    """
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # on NFS what is only read cannot be locked so
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone_if_possible(path: Path) -> Iterator[None]:
    """The same, waiting for whoever holds it; on a file system without locks nothing is held."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(alone(path, wait=True))
        yield


def share(path: Path) -> None:
    """Keep others from being `alone` with a file or folder until this process ends: its descriptor stays open.

    Raises
    ------
    OSError
        If it cannot be opened, or its file system has no locks.
    """
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)


def is_held(path: Path) -> bool:
    """Whether somebody is alone with a file or folder.

    Raises
    ------
    OSError
        If it cannot be opened, or its file system has no locks.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
