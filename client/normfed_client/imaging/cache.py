"""Preprocessed scans on disk, found by content: inputs, parameters and code version make the key.

An entry is whole or absent. It is built in a folder aside, under the entry's lock, and renamed when complete; a process
killed at any moment leaves at most a folder that the next one removes. Two processes wait for each other. An entry that
a power cut left short, or in which a bit has flipped since, is noticed when a process first uses it: set apart, built
again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from normfed_common.foundation import digests
from normfed_common.foundation.damage import put_aside
from normfed_common.foundation.errors import DatasetError, ScanError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import exclusive, share
from normfed_common.learning.cohort import Person, Scan

META, PRESENT = "meta.json", "present"
IGNORED = "ignored.npy"
SIZES, DIGESTS = "sizes.json", "digests.json"
ROOT_VARIABLE = "NORMFED_CACHE"


def default_root() -> Path:
    """Where preprocessed scans and synthetic hospitals are kept: $NORMFED_CACHE, else the user's cache folder."""
    given = os.environ.get(ROOT_VARIABLE)
    if given:
        return Path(os.path.abspath(Path(given).expanduser()))  # workers and links have folders of their own
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "normfed"


@dataclass(frozen=True)
class Entry:
    """One preprocessed scan.

    `images.npy` float32 (C, Z, X, Y), so that axial slices lie together; `mask.npy` bool (X, Y, Z); `normal.npy`
    int32 flat indices; `lesion.npy` bool (X, Y, Z); `ignored.npy` bool (X, Y, Z), if anything is; `meta.json`.
    """

    folder: Path

    def scan(self, person: Person) -> Scan:
        """The scan, mapped into memory: pages come as they are touched, and go with the object."""
        images = np.load(self.folder / "images.npy", mmap_mode="r").transpose(0, 2, 3, 1)
        return Scan(
            images,
            self.mask(),
            np.load(self.folder / "normal.npy", mmap_mode="r"),
            self.present(len(images)),
            person,
        )

    def present(self, channels: int) -> np.ndarray:
        """bool (C,): which modalities the visit has; all in an entry that does not say."""
        return np.array(self.meta().get(PRESENT, [True] * channels), bool)

    def mask(self) -> np.ndarray:
        """bool (X, Y, Z): the brain."""
        loaded: np.ndarray = np.load(self.folder / "mask.npy")
        return loaded

    def normal(self) -> np.ndarray:
        """bool (X, Y, Z): tissue that counts as normal."""
        found = np.zeros(self.mask().shape, bool)
        found.flat[np.load(self.folder / "normal.npy")] = True
        return found

    def ignored(self) -> np.ndarray | None:
        """bool (X, Y, Z): what is neither lesion nor normal; None where there is nothing of that kind."""
        path = self.folder / IGNORED
        return np.load(path) if path.exists() else None

    def evaluated(self) -> np.ndarray:
        """bool (X, Y, Z): the brain without what is ignored."""
        mask, ignored = self.mask(), self.ignored()
        return mask if ignored is None else mask & ~ignored

    def content(self) -> str:
        """A digest of all files; they are read once per process, as `Cache.get` did."""
        return digests.of_json({path.name: digests.of_file(path) for path in self.folder.glob("*.npy")})

    @property
    def size(self) -> int:
        """Bytes of the images."""
        return (self.folder / "images.npy").stat().st_size

    def lesion(self) -> np.ndarray:
        """bool (X, Y, Z); all False for people without lesions."""
        loaded: np.ndarray = np.load(self.folder / "lesion.npy")
        return loaded

    def meta(self) -> dict[str, Any]:
        """What preprocessing found: matrix to the scan's world, overlap, lesion voxels, where not all modalities are
        present which are; or the failure."""
        loaded: dict[str, Any] = json.loads((self.folder / META).read_text())
        return loaded


@dataclass(frozen=True)
class Unprepared(Entry):
    """In the place of a scan that cannot be prepared, where nobody may learn that there is one: it cannot be opened.

    Parameters
    ----------
    why
        For the site's own log.
    """

    why: str

    def scan(self, person: Person) -> Scan:
        """There is none.

        Raises
        ------
        ScanError
            Always.
        """
        raise ScanError(self.why)

    def content(self) -> str:
        """The same of all that cannot be opened: there is nothing in them."""
        return ""

    @property
    def size(self) -> int:
        """None."""
        return 0


class Cache:
    """A folder of entries; when one was last used is the time of its `sizes.json`. A process that opens it holds a lock
    of the folder until it ends: meanwhile nothing is pruned."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(
                f"{root}: the cache folder cannot be made ({error.strerror}). Choose another folder."
            ) from error
        _hold(os.path.realpath(root), os.getpid())

    def get(self, key: str) -> Entry | None:
        """The entry under ``key``, if it is complete and what was written; its files are read once per process."""
        folder = self.root / key
        try:
            sizes = json.loads((folder / SIZES).read_text())
            whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
            if not whole or not _intact(folder, sizes):
                return None
            with contextlib.suppress(OSError):  # a cache that is only read
                os.utime(folder / SIZES)
            return Entry(folder)
        except (OSError, ValueError, AttributeError):  # the last of a table that is none any more
            return None

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
        if (self.root / key).exists():  # or we would not build it
            put_aside(self.root / key, "it is not what was written", "it is made again from the scans")
        aside = self.root / f".building-{key}"
        shutil.rmtree(aside, ignore_errors=True)  # we hold the lock: whoever began this is dead
        aside.mkdir()
        try:
            build(aside)
            sizes = {path.name: path.stat().st_size for path in aside.iterdir()}
            (aside / SIZES).write_text(json.dumps(sizes))
            _write_digests(aside, sizes)
            os.replace(aside, self.root / key)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return Entry(self.root / key)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        path = self.root / f".lock-{key}"
        self.root.mkdir(parents=True, exist_ok=True)  # it may have been deleted meanwhile
        with exclusive(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


@lru_cache(maxsize=64)
def _hold(root: str, _process: int) -> None:
    """Lock a folder of entries against pruning, once per process and until it ends: the descriptor stays open."""
    with contextlib.suppress(OSError):  # a file system without locks
        share(Path(root))


def _intact(folder: Path, names: Iterable[str]) -> bool:
    """Whether the files are those of the digests; what an earlier version wrote has none, and gets them now."""
    if not (folder / DIGESTS).exists():
        with contextlib.suppress(OSError):  # a cache that is only read
            _write_digests(folder, names)
        return True
    known: object = json.loads((folder / DIGESTS).read_text())
    return known == {name: digests.of_file(folder / name) for name in names}


def _write_digests(folder: Path, names: Iterable[str]) -> None:
    write_json(folder / DIGESTS, {name: digests.of_file(folder / name) for name in names})


def write_arrays(folder: Path, images: np.ndarray, mask: np.ndarray, lesion: np.ndarray, normal: np.ndarray) -> None:
    """Write an entry's arrays; images (C, X, Y, Z), the others bool (X, Y, Z)."""
    np.save(folder / "images.npy", np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32))
    np.save(folder / "mask.npy", mask)
    np.save(folder / "lesion.npy", lesion)
    np.save(folder / "normal.npy", np.flatnonzero(normal).astype(np.int32))
