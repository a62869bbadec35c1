"""A copy of a server's folder in one file, made while the server runs; `restoring` makes a folder of it again.

A tar archive whose last member, manifest.json, has the SHA-256 of every other. Databases are copied by SQLite's own
backup, files as they are at the moment; each is whole, as all are written aside and renamed, and lines that are being
added are cut at the last whole one. With keys the archive is sealed under a passphrase.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from pydantic import Field

from normfed_common.foundation import versions
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import atomic
from normfed_common.study.base import Frozen
from normfed_server.state.folder import ServerHome
from normfed_server.state.sealed_stream import Sealer

MANIFEST = "manifest.json"
COPIES = ".backup-"
KEYS = (".key", ".secret")
DATABASES = (".sqlite", ".db")
NOT_KEPT = ("flower", "log/lock", "log/services.json", "nodes.json")  # of processes, which make them again
ENDINGS_NOT_KEPT = (".lock", "-wal", "-shm", "-journal")


class Kept(Frozen):
    """A file of a backup."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Frozen):
    """What is in a backup."""

    format: Literal[1] = 1
    federation: str = Field(max_length=200)
    fingerprint: str = Field(max_length=100, description="of its certificate authority")
    address: str = Field(max_length=300)
    time: str = Field(max_length=40, description="when it was begun, UTC")
    version: str = Field(max_length=50, description="of normfed")
    keys: bool = Field(description="whether keys and secrets are among the files")
    files: dict[str, Kept]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it: two backups with the same are the same."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


def write(home: ServerHome, path: Path, passphrase: bytes | None) -> Manifest:
    """Copy a server's folder into a file.

    Parameters
    ----------
    passphrase
        That keys and secrets, and all the rest, are sealed under; None to leave them out.

    Raises
    ------
    UserError
        If the file is there already, or would be in the folder; a database is damaged, or the passphrase too short.
    """
    if path.exists():
        raise UserError(f"{path}: is there already. Choose another name; a backup is never overwritten.")
    if path.resolve().is_relative_to(home.folder.resolve()):
        raise UserError(f"{path}: is inside {home.folder}. Choose another disk, or another machine's.")
    time, kept = datetime.now(UTC).isoformat(timespec="seconds"), dict[str, Kept]()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        temporary.chmod(0o600)
        with (
            _sink(file, passphrase) as sink,
            tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar,  # type: ignore[call-overload]
        ):
            for name, source in _sources(home, passphrase is not None):
                with contextlib.suppress(FileNotFoundError), source.open("rb") as content:  # its run went on
                    kept[name] = _add(tar, name, content, _size(content, whole_lines=source.suffix == ".jsonl"))
            manifest = Manifest(
                federation=home.config.name,
                fingerprint=home.fingerprint(),
                address=home.config.address,
                time=time,
                version=versions.installed_version(),
                keys=passphrase is not None,
                files=kept,
            )
            text = manifest.model_dump_json(indent=1).encode()
            _add(tar, MANIFEST, io.BytesIO(text), len(text))
    return manifest


@contextlib.contextmanager
def _sink(file: BinaryIO, passphrase: bytes | None) -> Iterator[_Sink]:
    if passphrase is None:
        yield file
        return
    sealer = Sealer(file, passphrase)
    yield sealer
    sealer.close()


def _sources(home: ServerHome, keys: bool) -> Iterator[tuple[str, Path]]:
    """Name in the backup, and the file to read, of all that is kept; the list of runs before what it lists.

    Databases are copied in the folder itself, one at a time: elsewhere others might read what is to be sealed.
    """
    names = sorted(_names(home.folder), key=lambda name: (not name.endswith(DATABASES), name))
    for name in names:
        if name.endswith(KEYS) and not keys:
            continue
        if not name.endswith(DATABASES):
            yield name, home.folder / name
            continue
        with tempfile.TemporaryDirectory(dir=home.folder, prefix=COPIES) as folder:
            copy = Path(folder) / "copy"
            _copy(home.folder / name, copy)
            yield name, copy


def _names(folder: Path) -> Iterator[str]:
    """Of all files to keep; folders may be links to other disks."""
    seen = set[Path]()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        if here.resolve() in seen:  # links in a circle
            folders.clear()
            continue
        seen.add(here.resolve())
        folders[:] = [name for name in folders if not name.startswith(COPIES)]
        for file in files:
            name = (here / file).relative_to(folder).as_posix()
            half_written = file.startswith(".")
            dropped = any(name == one or name.startswith(f"{one}/") for one in NOT_KEPT)
            if not half_written and not dropped and not file.endswith(ENDINGS_NOT_KEPT) and (here / file).is_file():
                yield name


def _copy(database: Path, copy: Path) -> None:
    """By SQLite, which sees what others write meanwhile, or what they wrote before, and nothing between."""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{database}: cannot be copied ({error}). See whether the server says that it is damaged."
        ) from error


def _size(content: BinaryIO, whole_lines: bool) -> int:
    """Bytes to keep of a file that may grow."""
    size = os.fstat(content.fileno()).st_size
    while whole_lines and size:
        start = max(size - 65_536, 0)
        content.seek(start)
        end = content.read(size - start).rfind(b"\n")
        if end >= 0:
            size = start + end + 1
            break
        size = start
    content.seek(0)
    return size


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> Kept:
    member, reader = tarfile.TarInfo(name), _Hashing(content)
    member.size = size
    tar.addfile(member, reader)
    return Kept(size=size, sha256=reader.digest.hexdigest())


class _Hashing(io.RawIOBase):
    """Digests what is read through it."""

    def __init__(self, content: BinaryIO) -> None:
        super().__init__()
        self._content, self.digest = content, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._content.read(size)
        self.digest.update(data)
        return data
