"""What a hospital spent of its people's privacy: every release of what was learnt of them, in the order they were made.

An entry is written before the work begins (**reserved**), and marked when the answer is there (**settled**). Only what
was reserved can leave, so whatever dies in between counts as spent. The same release again is the same entry, found by
its key, and costs nothing: it has the same noise.

Entries are chained by digests, so that one that was changed or taken out shows. How many there are, and the digest of
the last, is noted in the folder of each run and leaves, signed, with every answer (`Counter`): by either a copy from
earlier is told.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from normfed_client.hospital.bookkeeping import clock
from normfed_client.hospital.bookkeeping.counting import Signer
from normfed_client.hospital.bookkeeping.entries import Entry, Release
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.wire.counter import Counter

Mark = tuple[int, str, str]
"""What somebody remembers of the ledger: how many entries it had, the digest of the last, and who it is."""

_TABLES = (
    "CREATE TABLE made (id TEXT NOT NULL)",
    "CREATE TABLE signers (line TEXT PRIMARY KEY)",
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, time TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, "
    "spent TEXT NOT NULL, run TEXT NOT NULL, arm TEXT NOT NULL, what TEXT NOT NULL, head TEXT NOT NULL, "
    "settled INTEGER NOT NULL DEFAULT 0, UNIQUE (key, kind))",
)
_ANSWERS = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, content TEXT NOT NULL)"
_COLUMNS = "time, key, kind, spent, run, arm, what, head, settled"


class Ledger:
    """The ledger of one hospital; safe to use from several processes.

    Parameters
    ----------
    path
        Of the SQLite file, which is made with the first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """All of them, the latest last.

        Raises
        ------
        UserError
            If the ledger is damaged, or was edited.
        """
        return [entry for entry, _ in self._all()]

    def reserve(
        self,
        release: Release,
        refusal: Callable[[Sequence[Entry], Entry], str],
        again: Callable[[Entry], str] = lambda _entry: "",
    ) -> str:
        """Write down what is about to be spent; or return why it must not be, with nothing written.

        Parameters
        ----------
        refusal
            Returns why an entry must not follow those that there are, or nothing.
        again
            Returns why what is entered already must not be worked on once more, or nothing.
        """
        self.path.touch(0o600)
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")  # nobody spends between what is read here and what is written
            read = self._read(database)
            entries = [entry for entry, _ in read]
            known = next((e for e in entries if (e.release.key, e.release.kind) == (release.key, release.kind)), None)
            if known is not None:
                return again(known)
            now = clock.now(database).isoformat(timespec="seconds")
            entry = Entry(release, max([now, *(e.time for e in entries[-1:])]), False)  # a clock may have been set back
            why = refusal(entries, entry)
            if why:
                return why
            if not _made(database):
                for statement in _TABLES:
                    database.execute(statement)
                database.execute("INSERT INTO made VALUES (?)", (secrets.token_hex(16),))
            before = read[-1][1] if read else _start(database)
            row = (entry.time, *_row(release), _digest(before, entry), 0)
            database.execute(f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return ""

    def settle(self, key: str, content: str) -> str:
        """The answer was made; nothing is to be done for what never was an entry.

        Parameters
        ----------
        content
            A digest of what is about to leave.

        Returns
        -------
        That of what was made first under this key; empty where that was before such digests were kept.
        """
        if not self.path.exists():
            return content
        with self._open() as database:
            if not _made(database):
                return content
            database.execute("BEGIN IMMEDIATE")
            before = [row[0] for row in database.execute("SELECT settled FROM entries WHERE key = ?", (key,))]
            if not before:
                return content
            database.execute(_ANSWERS)
            if not any(before):
                database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, content))
                database.execute("UPDATE entries SET settled = 1 WHERE key = ?", (key,))
            first = database.execute("SELECT content FROM answers WHERE key = ?", (key,)).fetchone()
        return "" if first is None else str(first[0])

    def counter(self, signer: Signer) -> Counter | None:
        """How long the ledger is, signed; None where nothing was spent."""
        if not self.path.exists():
            return None
        with self._open() as database:
            entries, head = _mark(database)
            if not entries:
                return None
            database.execute("INSERT OR IGNORE INTO signers VALUES (?)", (signer.line,))
        return signer.signed(entries, head)

    def check(self, counter: Counter, signer: Signer, marks: Iterable[Mark] = ()) -> None:
        """Hold the ledger against marks, and against a counter that a server sent back.

        Raises
        ------
        UserError
            If the ledger is a copy from earlier than the counter or a mark, or has another past.
        SiteError
            If this hospital never signed such a counter.
        """
        heads, lines = self._heads(), list[str]()
        self._hold(heads, marks)
        if heads:
            with self._open() as database:
                lines = [row[0] for row in database.execute("SELECT line FROM signers")]
        if not signer.made(counter, lines):
            raise SiteError(SiteCode.BAD_REQUEST, "the server sent a counter of the ledger that this site never signed")
        self._hold(heads, [(counter.entries, counter.head, "the server")])

    def check_marks(self, marks: Iterable[Mark]) -> None:
        """Hold the ledger against what is remembered of it.

        Raises
        ------
        UserError
            If it has fewer entries, or they are others.
        """
        self._hold(self._heads(), marks)

    def mark(self) -> tuple[int, str]:
        """How many entries there are, and the digest of the last as it was written; `check_marks` looks at all."""
        if not self.path.exists():
            return 0, ""
        with self._open() as database:
            return _mark(database)

    def _heads(self) -> list[str]:
        return [head for _, head in self._all()]

    def _hold(self, heads: Sequence[str], marks: Iterable[Mark]) -> None:
        for entries, head, whose in marks:
            if len(heads) < entries:
                raise UserError(
                    f"{self.path}: is an old copy, or was deleted: it has {len(heads)} of the {entries} entries "
                    f"that {whose} knows of. Restore the newest copy; on the word of an old one more could be spent "
                    "than allowed."
                )
            if heads[entries - 1] != head:
                raise UserError(
                    f"{self.path}: has another entry {entries} than the one that {whose} knows of. It went on from an "
                    "old copy, or is another hospital's. Restore the newest copy of the right one."
                )

    def _all(self) -> list[tuple[Entry, str]]:
        """Every entry and its digest."""
        if not self.path.exists():  # nothing was spent, or `check_marks` knows better
            return []
        with self._open() as database:
            return self._read(database)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with _database(self.path) as database:
                yield database
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.path}: cannot be used ({error}). It says what was spent of the privacy of this hospital's "
                "people; without it nothing is released. Restore its newest copy from a backup."
            ) from error

    def _read(self, database: sqlite3.Connection) -> list[tuple[Entry, str]]:
        """Every entry and its digest, checked against those before it."""
        if not _made(database):
            return []
        found: list[tuple[Entry, str]] = []
        head = _start(database)
        rows = database.execute(f"SELECT number, {_COLUMNS} FROM entries ORDER BY number").fetchall()
        for place, (number, time, key, kind, spent, run, arm, what, written, settled) in enumerate(rows, 1):
            mechanisms = tuple(SampledGaussian(*mechanism) for mechanism in json.loads(spent))
            entry = Entry(Release(key, kind, mechanisms, run, arm, what), time, bool(settled))
            head = _digest(head, entry)
            if (number, written) != (place, head):
                raise ValueError(f"entry {place} is not what was written")
            found.append((entry, head))
        return found


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    try:
        # On disk before anything leaves; and in this one file, not in a log beside it that a copy would lack.
        database.execute("PRAGMA synchronous = FULL")
        with database:
            yield database
    finally:
        database.close()


def _made(database: sqlite3.Connection) -> bool:
    """Whether there are tables; a crash before the first entry leaves an empty file."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone() is not None


def _mark(database: sqlite3.Connection) -> tuple[int, str]:
    """The number and the digest of the last entry."""
    last = "SELECT number, head FROM entries ORDER BY number DESC LIMIT 1"
    return (_made(database) and database.execute(last).fetchone()) or (0, "")


def _start(database: sqlite3.Connection) -> str:
    row = database.execute("SELECT id FROM made").fetchone()
    if row is None:
        raise ValueError("it has no number of its own")
    return str(row[0])


def _row(release: Release) -> tuple[str, ...]:
    spent = json.dumps([_numbers(mechanism) for mechanism in release.spent])
    return release.key, release.kind, spent, release.run, release.arm, release.what


def _numbers(mechanism: SampledGaussian) -> list[float]:
    """Of how many sites the noise is only stands there if it is of several: entries keep their digests."""
    found = [mechanism.noise_multiplier, mechanism.sampling_rate, mechanism.times]
    return [*found, mechanism.sites] if mechanism.sites > 1 else found


def _digest(before: str, entry: Entry) -> str:
    return hashlib.sha256(json.dumps([before, entry.time, *_row(entry.release)]).encode()).hexdigest()
