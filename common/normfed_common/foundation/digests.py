"""Content digests: what a cache entry, a request or a study is identified by, and what shows that a file is damaged."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def of_json(value: Any) -> str:
    """SHA-256 (first 32 hex digits) of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def of_arrays(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (64 hex digits) of a text and of named arrays: names, types, shapes and values, in any order."""
    found = hashlib.sha256(f"{text}\n".encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.ravel().data if array.size else b"")
    return found.hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of a file's content; read once per process while its size and time stay the same.

    Raises
    ------
    OSError
        If it cannot be read, or is no file: a pipe might never end.
    """
    stat = path.stat()
    if not S_ISREG(stat.st_mode):
        raise OSError(errno.EINVAL, "not a file, but a folder, a pipe or a device", str(path))
    return _of_file(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=65_536)
def _of_file(path: str, _size: int, _mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
