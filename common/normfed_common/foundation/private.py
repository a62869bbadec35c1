"""Folders and files that only their owner may read: keys, secrets, state."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from normfed_common.foundation.errors import UserError


def make_folder(path: Path) -> None:
    """Make a folder with owner-only rights; one that exists is tightened."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)


def write_new(path: Path, content: bytes) -> None:
    """Write a secret to a file that must not exist yet; nobody else can read it at any moment.

    Raises
    ------
    FileExistsError
        If there is one already.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def secret() -> bytes:
    """A new secret of 256 bits, as text."""
    return secrets.token_hex(32).encode()


def check(path: Path) -> None:
    """Refuse a secret that others could have read.

    Raises
    ------
    UserError
        If the file is missing, or its rights are too wide.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing. Restore it from a backup; it cannot be made again.") from error
    if stat.S_IMODE(mode) & 0o077:
        raise UserError(f"{path}: not only its owner may read it. Restrict it: chmod 600 {path}")
