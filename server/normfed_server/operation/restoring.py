"""A server's folder from a backup: all of it is checked beside its place, then put there in one step, or none."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import ValidationError

from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError, WireError
from normfed_common.foundation.files import inside
from normfed_server.operation.backup import DATABASES, KEYS, MANIFEST, Kept, Manifest
from normfed_server.state import authority
from normfed_server.state.chain import chain_of, make_key
from normfed_server.state.folder import ServerHome, open_home
from normfed_server.state.sealed_stream import MAGIC, Opener

PIECE = 2**20
MANIFEST_BYTES = 2**28


@dataclass(frozen=True)
class Restored:
    """What a backup became.

    Parameters
    ----------
    request
        What an authority is to sign; None where the server's key was in the backup.
    """

    home: ServerHome
    manifest: Manifest
    request: authority.Request | None


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def is_sealed(path: Path) -> bool:
    """Whether a backup asks for a passphrase.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def restore(path: Path, folder: Path, ask: Callable[[], bytes]) -> Restored:
    """Make a server's folder of a backup. What keys are not in it are made anew; sites notice nothing.

    Parameters
    ----------
    ask
        For the passphrase of a backup with keys.

    Raises
    ------
    UserError
        If there is something in the folder, or the backup is not whole; then nothing was changed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: there is something already. Choose another --home; nothing is overwritten.")
    passphrase = ask() if is_sealed(path) else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.restoring-"))
    try:
        with open(path, "rb") as file:
            source = Opener(file, passphrase, str(path)) if passphrase is not None else file
            manifest = _unpacked(source, staging, path)
        if manifest.keys != (passphrase is not None) or (not manifest.keys and any(map(_is_key, manifest.files))):
            raise UserError(f"{path}: holds keys and is not sealed, as no backup is. Somebody made or changed it.")
        for name in manifest.files:
            if name.endswith(DATABASES):
                _check_database(staging / name, path)
        home = open_home(staging)
        if home.fingerprint() != manifest.fingerprint:
            raise UserError(f"{path}: its certificate authority is not the one that its manifest names.")
        request = _completed(home)
        if folder.exists():
            folder.rmdir()
        os.replace(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return Restored(open_home(folder), manifest, request)


def _is_key(name: str) -> bool:
    return name.endswith(KEYS)


def _completed(home: ServerHome) -> authority.Request | None:
    """Make what is not in a backup: folders that were empty, and secrets that only this server's processes share."""
    for inner in (home.enrolments, home.runs, home.log):
        private.make_folder(inner)
    for secret in (home.operator_secret, home.executor_secret):
        if not secret.exists():
            private.write_new(secret, private.secret())
    if not home.audit_key.exists():
        make_key(home)
        if (chain := chain_of(home)).path.exists():
            chain.begin_anew()  # what another key signed is kept apart
    if home.key.exists():
        return None
    home.certificate.unlink(missing_ok=True)  # of a key that is not here
    return authority.request(home, (home.config.host,))


def _unpacked(source: _Source, staging: Path, path: Path) -> Manifest:
    """Write all files of a backup below a folder, and compare them with its manifest, which comes last."""
    found, manifest = dict[str, Kept](), None
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:  # type: ignore[call-overload]  # only `read` is called
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or manifest is not None or member.name in found:
                    raise UserError(f"{path}: holds {member.name!r}, which no backup holds.")
                if member.name == MANIFEST:
                    manifest = Manifest.model_validate_json(content.read(MANIFEST_BYTES))
                else:
                    found[member.name] = _written(content, _place(staging, member.name, path))
    except (tarfile.TarError, ValidationError, EOFError) as error:
        raise UserError(f"{path}: is not a backup, or is damaged ({' '.join(str(error).split())}).") from error
    if manifest is None:
        raise UserError(f"{path}: is not whole: its end is missing. Take another backup.")
    if found != manifest.files:
        wrong = sorted(n for n in found.keys() | manifest.files.keys() if found.get(n) != manifest.files.get(n))
        raise UserError(f"{path}: is damaged: {', '.join(wrong[:3])} not as it was. Take another backup.")
    return manifest


def _place(staging: Path, name: str, path: Path) -> Path:
    try:
        place = inside(staging, *name.split("/"))
    except WireError as error:
        raise UserError(f"{path}: holds {name!r}, which no backup holds.") from error
    private.make_folder(place.parent)
    return place


def _written(content: object, place: Path) -> Kept:
    digest, size = hashlib.sha256(), 0
    with _new(place) as file:
        while piece := content.read(PIECE):  # type: ignore[attr-defined]  # tarfile's own type has no name
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return Kept(size=size, sha256=digest.hexdigest())


@contextlib.contextmanager
def _new(place: Path) -> Iterator[BinaryIO]:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _check_database(database: Path, path: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            answer = opened.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        raise UserError(f"{path}: {database.name} in it is damaged ({' '.join(answer.split())}). Take another backup.")
