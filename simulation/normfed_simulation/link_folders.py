"""A folder of links that is there whole or not at all: whoever is killed, and however many make it at the same time."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from normfed_common.foundation.errors import DatasetError
from normfed_common.foundation.files import is_full
from normfed_common.foundation.locks import exclusive

MAKING = ".making-"  # how the names of folders begin that are not whole yet, or not any more
LOCK = ".lock"
ABANDONED_S = 7 * 24 * 3600.0  # nobody takes a week to make one


def make(root: Path, fill: Callable[[Path], None], sign: str) -> None:
    """Have ``root`` filled beside its place and then put there; another process that is first is as good.

    Parameters
    ----------
    fill
        Is given an empty folder.
    sign
        A file that every whole folder has: what lies at ``root`` without it is damaged, and is replaced.

    Raises
    ------
    DatasetError
        If the disk is full, or does not take links.
    """
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        _clear(root.parent)
        aside = Path(tempfile.mkdtemp(prefix=MAKING, dir=root.parent))
        try:
            fill(aside)
            aside.chmod(0o755)  # mkdtemp's folders are the owner's alone
            _put(aside, root, sign)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        why = "the disk is full" if is_full(error) else f"links cannot be made there ({error.strerror})"
        raise DatasetError(f"{root.parent}: {why}. Choose another cache folder with $NORMFED_CACHE.") from error


def _put(aside: Path, root: Path, sign: str) -> None:
    if _put_first(aside, root, sign):
        return
    with exclusive(root.parent / LOCK):  # so that nobody takes away what another has just replaced
        if (root / sign).exists():
            return
        damaged = Path(tempfile.mkdtemp(prefix=MAKING, dir=root.parent))
        root.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
        _put_first(aside, root, sign)


def _put_first(aside: Path, root: Path, sign: str) -> bool:
    """Whether a whole folder is at ``root`` now; a rename never replaces a folder with something in it."""
    try:
        aside.rename(root)
    except OSError:
        if not root.is_dir():
            raise
        return (root / sign).exists()
    return True


def _clear(parent: Path) -> None:
    """Throw away what a process that was killed left behind."""
    for left in parent.glob(f"{MAKING}*"):
        if time.time() - left.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)
