"""Files that are either whole or absent: written aside, flushed to disk, then renamed. Damaged ones are set apart."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from normfed_common.foundation.errors import WireError

DAMAGED = ".damaged-"  # in the name of what was set apart
LONGEST_PREFIX = 100  # characters of a file's name in that of the temporary one: a name as long as may be has room


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path``, on any failure nothing is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])  # libraries choose the format by the ending
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:LONGEST_PREFIX]}.", suffix=suffix)
    except OSError as error:
        error.filename = str(path)  # nobody named the temporary one
        raise
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(handle, 0o666 & ~umask)  # mkstemp's files are the owner's alone
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def inside(root: Path, *names: str) -> Path:
    """A path below ``root`` made of somebody else's names; it never leads out of it, not even by a link.

    Raises
    ------
    WireError
        If a name cannot be that of one file or folder, or the path leads elsewhere.
    """
    for name in names:
        if not name or name in (".", "..") or len(name) > 255 or any(c in name for c in "/\\\0"):
            raise WireError(f"{name[:80]!r} cannot name a file or folder")
    path = root.joinpath(*names)
    if path.resolve() != root.resolve().joinpath(*names):
        raise WireError(f"{path}: leads out of {root} by a link. Remove the link.")
    return path


def is_utf8(path: Path) -> bool:
    """Whether a file can name the path in UTF-8: to the disk a name is any bytes."""
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        return False
    return True


def set_apart(path: Path) -> Path:
    """Rename what is damaged, so that it is made again and a person may look at it; returns where it is now."""
    kept = path.with_name(f"{path.name}{DAMAGED}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    with contextlib.suppress(FileNotFoundError):  # somebody else noticed it as well
        path.rename(kept)
    return kept


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of space; NumPy says so without a number."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and " written" in str(error))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; bytes of a file's name that are none stand as ``\\udcff``."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; not-a-number becomes null, as JSON has no word for it."""
    write_text(path, json.dumps(without_nan(value), indent=1, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """The same structure with NaN and infinities replaced by None, and NumPy scalars by Python's."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if hasattr(value, "item"):  # NumPy's scalars, without importing NumPy for every command
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
