"""The file of a chain: records are appended by several processes, and survive whatever ends one of them.

A chain and not a Merkle tree: a log of certificates (RFC 9162) is a tree so that one of its billion entries can be
proven without the others, and so is Rekor's. A site writes some thousand records a year, and who verifies it reads them
all, for which a chain says as much; what both need is that heads are handed on. JSON lines and not SQLite: what is
handed to a third party is the file itself, and what a crash can leave behind is half a line at its end, no more.

An append holds a lock, looks at the last record, writes one line and flushes it to the disk; on an error what was
written is taken back. Half a line at the end is set apart beside the file, and a record says so; a line that lacks its
end only is given it. Whole records are never taken away.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from normfed_common.chain.keys import SigningKey
from normfed_common.chain.kinds.content import Content
from normfed_common.chain.kinds.shared import Closed, LossAccepted, Opened, Repaired
from normfed_common.chain.records import START, Record, signed
from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import set_apart
from normfed_common.foundation.locks import exclusive
from normfed_common.foundation.versions import installed_version
from normfed_common.wire.head import Head

REMEMBERED_BYTES = 2**16  # of a line; longer ones are read each time


class Chain:
    """A chain; safe to append to from several processes.

    Parameters
    ----------
    path
        Of the file that is appended to; archives lie beside it.
    key
        Reads the key that signs.
    whose
        A site's name, or the federation's.
    """

    def __init__(self, path: Path, key: Callable[[], SigningKey], whose: str) -> None:
        self.path, self._key, self._whose = path, key, whose

    def key_line(self) -> str:
        """The public key."""
        return self._key().line

    def append(self, content: Content) -> Record:
        """Sign a record and put it on the disk; it is there when this returns.

        Raises
        ------
        UserError
            If the end of the chain is damaged, or the key is.
        OSError
            If it cannot be written; then nothing of it was.
        """
        with self._alone():
            return self._append(content)

    def records(self) -> Iterator[Record]:
        """All of the chain that lies here, archives first.

        Raises
        ------
        UserError
            At a line that is no record.
        """
        for line in self.lines():
            yield self._read(line)

    def lines(self) -> Iterator[bytes]:
        """The same as they stand in the files; half a line at the end has no end of line."""
        for path in (*self.archives(), self.path):
            if path.exists():
                with open(path, "rb") as file:
                    yield from file

    def backwards(self) -> Iterator[Record]:
        """Those of the file that is appended to, the latest first; half a line at its end is passed over."""
        with _mapped(self.path) as data:
            end = data.rfind(b"\n") + 1
            while end:
                start = data.rfind(b"\n", 0, end - 1) + 1
                yield self._read(data[start:end])
                end = start

    def containing(self, text: bytes) -> Iterator[Record]:
        """Those whose line has a text in it, the latest first, of all files that lie here; no other line is read."""
        for path in (self.path, *reversed(self.archives())):
            with _mapped(path) as data:
                end = data.rfind(b"\n") + 1
                while (place := data.rfind(text, 0, end)) >= 0:
                    start = data.rfind(b"\n", 0, place) + 1
                    yield self._read(data[start : data.find(b"\n", place) + 1])
                    end = start

    def losses(self) -> list[Head]:
        """That a person accepted, the latest first."""
        found = self.containing(b'"kind":"loss-accepted"')  # no text of a record can hold quotes that are not escaped
        return [record.content.head for record in found if isinstance(record.content, LossAccepted)]

    def head(self) -> Head | None:
        """How the chain ends; None where there is none."""
        last = next(self.backwards(), None) or self._end_of_archives()
        return None if last is None else last.head

    def lacks(self, head: Head) -> str:
        """Why the chain has not the record that a head is of, in words; empty where it has.

        What was archived and carried away is not looked at.
        """
        last = next(self.backwards(), None)
        if last is None or last.chain != head.chain:
            return f"it is another chain than the one of {head.records} records that the other side knows"
        if last.number < head.records:
            return f"it has {last.number} of the {head.records} records that the other side knows of"
        for path in (self.path, *reversed(self.archives())):
            found = self._find(path, head.records)
            if found is not None:
                return "" if found.digest == head.digest else f"it has another record {head.records} than was told"
        return ""

    def accept_loss(self, head: Head) -> None:
        """Go on without the records that the other side knows of, and say so in the chain."""
        self.append(LossAccepted(head=head))

    def archive(self) -> Path:
        """Close the file, rename it, and go on in a new one; returns where it is now.

        Raises
        ------
        UserError
            If there is nothing to archive, or an earlier chain's archive has the name.
        """
        with self._alone():
            first = self._first()
            if first is None:
                raise UserError(f"{self.path}: has no record yet; there is nothing to archive.")
            before = self._last()
            assert before is not None
            archived = self.path.with_name(f"{self.path.stem}-{first.number:09d}-{before.number + 1:09d}.jsonl")
            if archived.exists():
                raise UserError(
                    f"{archived}: is there already, of an earlier chain. Move it elsewhere, then do it again."
                )
            last = self._append(Closed())
            os.rename(self.path, archived)
            self._write(self._next(last, self._opened()))
        return archived

    def begin_anew(self) -> Path:
        """Set a file apart that cannot be gone on with, and begin another chain; returns where it is now."""
        with self._alone():
            kept = set_apart(self.path)
            self._write(self._next(None, self._opened()))
        return kept

    def archives(self) -> list[Path]:
        """Closed files of the chain, in order."""
        return sorted(self.path.parent.glob(f"{self.path.stem}-{'[0-9]' * 9}-{'[0-9]' * 9}.jsonl"))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with exclusive(self.path.with_suffix(".lock")):
            yield

    def _append(self, content: Content) -> Record:
        last = self._last()
        if last is None:
            last = self._write(self._next(self._end_of_archives(), self._opened()))
        return self._write(self._next(last, content))

    def _last(self) -> Record | None:
        """The last record, once the end of the file is whole."""
        if not self.path.exists():
            return None
        with open(self.path, "r+b") as file:
            self._mend(file)
        return next(self.backwards(), None)

    def _mend(self, file: BinaryIO) -> None:
        """What a process that died left at the end."""
        with _mapped(self.path) as data:
            whole, size = data.rfind(b"\n") + 1, len(data)
            half = data[whole:]
        if not half:
            return
        if _is_record(half):
            file.seek(size)
            _flushed(file, b"\n")
            return
        private.write_new(self.path.with_name(f"{self.path.name}.half-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"), half)
        file.truncate(whole)
        os.fsync(file.fileno())
        repaired = Repaired(bytes=len(half), sha256=hashlib.sha256(half).hexdigest())
        last = next(self.backwards(), None)
        if last is None:
            last = self._write(self._next(self._end_of_archives(), self._opened()))
        self._write(self._next(last, repaired))

    def _next(self, last: Record | None, content: Content) -> Record:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if last is None:
            return signed(secrets.token_hex(16), 1, now, START, content, self._key())
        return signed(last.chain, last.number + 1, now, last.digest, content, self._key())

    def _opened(self) -> Opened:
        return Opened(whose=self._whose, key=self._key().line, version=installed_version())

    def _write(self, record: Record) -> Record:
        new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                _flushed(file, record.line())
            except BaseException:
                file.truncate(size)
                raise
        if new:
            _flush_folder(self.path.parent)
        return record

    def _first(self) -> Record | None:
        if not self.path.exists():
            return None
        with open(self.path, "rb") as file:
            line = file.readline()
        return self._read(line) if line.endswith(b"\n") else None

    def _end_of_archives(self) -> Record | None:
        """The last record of the last archive."""
        found = self.archives()
        return next(Chain(found[-1], self._key, self._whose).backwards(), None) if found else None

    def _find(self, path: Path, number: int) -> Record | None:
        """A record of a file by its number, without reading all of it."""
        with _mapped(path) as data:
            low, high = 0, data.rfind(b"\n") + 1
            while low < high:
                middle = (low + high) // 2
                start, end = data.rfind(b"\n", low, middle) + 1 or low, data.find(b"\n", middle) + 1
                found = self._read(data[start:end])
                if found.number == number:
                    return found
                low, high = (end, high) if found.number < number else (low, start)
        return None

    def _read(self, line: bytes) -> Record:
        try:
            found = _parsed(line) if len(line) <= REMEMBERED_BYTES else Record.model_validate_json(line)
        except ValidationError as error:
            raise UserError(
                f"{self.path}: a line of it is no record ({error.errors(include_url=False)[0]['msg']}). It is damaged, "
                "or was edited: verify it, and restore the newest copy or begin a new chain."
            ) from error
        return found


@lru_cache(maxsize=128)
def _parsed(line: bytes) -> Record:
    """Every request looks at the latest records, of which all but one were looked at before."""
    return Record.model_validate_json(line)


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    """A file's content without reading it; one that is empty or not there is empty."""
    if not path.exists() or not path.stat().st_size:
        yield b""
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _is_record(line: bytes) -> bool:
    try:
        record = Record.model_validate_json(line)
    except ValidationError:
        return False
    return record.line() == line + b"\n" and record.made_of() == record.digest


def _flushed(file: BinaryIO, content: bytes) -> None:
    left = memoryview(content)
    while left:  # a disk that fills up takes a part
        left = left[file.write(left) :]
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """So that the name of a new file survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
