"""Preprocessed scans on disk, found by content: inputs, parameters and code version make the key.

An entry is whole or absent. It is built in a folder aside, under the entry's lock, and renamed when complete; a process
killed at any moment leaves at most a folder that the next one removes. Two processes wait for each other. A file that a
power cut left short is noticed by its size, and the entry is built again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normfed_common.errors import DatasetError
from normfed_common.models.base import Volume

META = "meta.json"
SIZES = "sizes.json"
ROOT_VARIABLE = "NORMFED_CACHE"


def default_root() -> Path:
    """Where preprocessed scans and synthetic hospitals are kept: $NORMFED_CACHE, else the user's cache folder."""
    given = os.environ.get(ROOT_VARIABLE)
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "normfed"


@dataclass(frozen=True)
class Entry:
    """One preprocessed scan.

    `images.npy` float32 (C, Z, X, Y), so that axial slices lie together; `mask.npy` bool (X, Y, Z); `normal.npy`
    int32 flat indices; `lesion.npy` bool (X, Y, Z); `meta.json`.
    """

    folder: Path

    def volume(self) -> Volume:
        """The scan, mapped into memory: pages come as they are touched, and go with the object."""
        images = np.load(self.folder / "images.npy", mmap_mode="r").transpose(0, 2, 3, 1)
        return Volume(images, np.load(self.folder / "mask.npy"), np.load(self.folder / "normal.npy", mmap_mode="r"))

    @property
    def size(self) -> int:
        """Bytes of the images."""
        return (self.folder / "images.npy").stat().st_size

    def lesion(self) -> np.ndarray:
        """bool (X, Y, Z); all False for people without lesions."""
        loaded: np.ndarray = np.load(self.folder / "lesion.npy")
        return loaded

    def meta(self) -> dict[str, object]:
        """What preprocessing found: matrix to the scan's world, overlap, lesion voxels, or the failure."""
        loaded: dict[str, object] = json.loads((self.folder / META).read_text())
        return loaded


class Cache:
    """A folder of entries."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(
                f"{root}: the cache folder cannot be made ({error.strerror}). Choose another folder."
            ) from error

    def get(self, key: str) -> Entry | None:
        """The entry under ``key``, if it is complete."""
        folder = self.root / key
        try:
            sizes = json.loads((folder / SIZES).read_text())
            whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        except (FileNotFoundError, ValueError):
            return None
        return Entry(folder) if whole else None

    def get_or_build(self, key: str, build: Callable[[Path], None]) -> Entry:
        """The entry under ``key``, made by ``build(folder)`` unless it is there.

        Raises
        ------
        DatasetError
            If the disk is full or not writable; nothing half-written stays.
        """
        entry = self.get(key)
        if entry is not None:
            return entry
        try:
            with self._lock(key):
                return self.get(key) or self._build(key, build)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DatasetError(
                    f"{self.root}: the disk is full. Free some space or choose another cache folder; "
                    "what is done is kept."
                ) from error
            if error.errno in (errno.EACCES, errno.EROFS):
                raise DatasetError(f"{self.root}: not writable. Choose another cache folder.") from error
            raise

    def _build(self, key: str, build: Callable[[Path], None]) -> Entry:
        aside = self.root / f".building-{key}"
        shutil.rmtree(aside, ignore_errors=True)  # we hold the lock: whoever began this is dead
        aside.mkdir()
        try:
            build(aside)
            (aside / SIZES).write_text(json.dumps({path.name: path.stat().st_size for path in aside.iterdir()}))
            shutil.rmtree(self.root / key, ignore_errors=True)  # not whole, or we would not build it
            os.replace(aside, self.root / key)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return Entry(self.root / key)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        path = self.root / f".lock-{key}"
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


def write_arrays(folder: Path, images: np.ndarray, mask: np.ndarray, lesion: np.ndarray, normal: np.ndarray) -> None:
    """Write an entry's arrays; images (C, X, Y, Z), the others bool (X, Y, Z)."""
    np.save(folder / "images.npy", np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32))
    np.save(folder / "mask.npy", mask)
    np.save(folder / "lesion.npy", lesion)
    np.save(folder / "normal.npy", np.flatnonzero(normal).astype(np.int32))
