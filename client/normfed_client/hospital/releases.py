"""Over whom a hospital has released something, for good: the record that `blocks` is worked out of.

People and versions are kept as keyed digests (`PeopleSecret`), in one SQLite file of the hospital's folder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from normfed_client.hospital import signed_lists
from normfed_client.hospital.blocks import Member, too_small
from normfed_client.hospital.people import PeopleSecret
from normfed_common.foundation.errors import UserError

# What leaves: what was learnt (sums, updates, losses), or figures of anomaly maps. A figure of a made-up model can be a
# sum of intensities, so the two can be set off against each other.
Kind = Literal["learning", "figures"]
Told = Mapping[str, Sequence[frozenset[Member]]]  # cells by family of tables
Choose = Callable[[Told], Told]

CHECK = "which secret made the digests"

_TABLES = """
CREATE TABLE IF NOT EXISTS made (secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS recipes (recipe TEXT PRIMARY KEY, first TEXT NOT NULL, run TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS releases (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, people INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    times INTEGER NOT NULL, what TEXT NOT NULL, run TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members (release INTEGER NOT NULL, person TEXT NOT NULL, version TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS members_of ON members (release);
"""
_CELLS = """
CREATE TABLE IF NOT EXISTS cells (id INTEGER PRIMARY KEY, family TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cell_members (cell INTEGER NOT NULL, person TEXT NOT NULL, version TEXT NOT NULL);
"""  # apart: the records of hospitals that joined before there were statistics have none
_WITHDRAWN = "CREATE TABLE IF NOT EXISTS withdrawn (number INTEGER PRIMARY KEY, person TEXT UNIQUE NOT NULL)"


@dataclass(frozen=True)
class Release:
    """One set of people over whom something left the hospital.

    Parameters
    ----------
    kind
        What left: see `Kind`.
    people
        How many there are in the set.
    first, last
        When something about exactly this set left for the first and for the last time (UTC).
    times
        How often.
    what, run
        The last task, and the run it belonged to.
    """

    kind: Kind
    people: int
    first: str
    last: str
    times: int
    what: str
    run: str


class Releases:
    """The record of one hospital.

    Parameters
    ----------
    path
        Of the SQLite file, made by `create` when the hospital joins.
    secret
        The hospital's: digests of another would make strangers of everybody.

    Raises
    ------
    UserError
        If the file is missing or damaged, or was written with another secret: without it nobody knows what may still be
        released, so nothing is.
    """

    def __init__(self, path: Path, secret: PeopleSecret) -> None:
        self.path = path
        if not path.exists():
            raise UserError(
                f"{path}: missing. It says over whom this hospital has released anything; without it nothing is "
                "released. Restore it, and people.secret with it, from a backup."
            )
        with self._open() as database:
            found = [row[0] for row in database.execute("SELECT secret FROM made")]
        if found != [secret.digest(CHECK)]:
            raise UserError(
                f"{path}: was not written with this people.secret. Restore both from the same backup; nothing is "
                "released until then."
            )

    @classmethod
    def create(cls, path: Path, secret: PeopleSecret) -> Releases:
        """A new record, for its owner only."""
        path.touch(0o600, exist_ok=False)
        with _database(path) as database:
            database.executescript(_TABLES)
            database.execute("INSERT INTO made VALUES (?)", (secret.digest(CHECK),))
        return cls(path, secret)

    def all(self) -> list[Release]:
        """Every set, the latest last."""
        columns = "kind, people, first, last, times, what, run"
        with self._open() as database:
            return [Release(*row) for row in database.execute(f"SELECT {columns} FROM releases ORDER BY last, id")]

    def sets(self) -> list[frozenset[Member]]:
        """Every set."""
        with self._open() as database:
            return [members for _, members in _sets(database).values()]

    def sets_of(self, person: str) -> list[tuple[Release, frozenset[Member]]]:
        """The sets that a person is in, by their digest; the first first."""
        columns = "kind, people, first, last, times, what, run"
        with self._open() as database:
            rows = database.execute(f"SELECT id, {columns} FROM releases ORDER BY id").fetchall()
            sets = _sets(database)
        found = [(Release(*row), sets[number][1]) for number, *row in rows]
        return [(release, of) for release, of in found if any(member.person == person for member in of)]

    def withdraw(self, person: str) -> None:
        """Write down that a person withdrew, by their digest, for good: nothing about them leaves again. The sets that
        they are in stay, for the next ones are held against them."""
        with self._open() as database:
            database.execute(_WITHDRAWN)
            database.execute("INSERT OR IGNORE INTO withdrawn (person) VALUES (?)", (person,))

    def withdrawn(self) -> tuple[str, ...]:
        """Digests of who withdrew, in the order in which they did."""
        with self._open() as database:
            return _withdrawn(database)

    def serial(self) -> int:
        """How many sets, cells, signed lists and withdrawals there are: it only grows, which tells an earlier copy."""
        with self._open() as database:
            sets: int = database.execute("SELECT COUNT(*) FROM releases").fetchone()[0]
            lists = signed_lists.count(database)
        return sets + lists + sum(self.cells().values()) + len(self.withdrawn())

    def cells(self) -> dict[str, int]:
        """How many cells of statistics were ever told, by family of tables."""
        with self._open() as database:
            database.executescript(_CELLS)
            return dict(database.execute("SELECT family, COUNT(*) FROM cells GROUP BY family ORDER BY family"))

    def admit(self, recipe: str, most: int, run: str) -> bool:
        """Whether scans may leave a trace prepared in this way: one of at most so many ways, ever.

        Sums over the same people under ever new normalisations are as many equations about each of them.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            known = {row[0] for row in database.execute("SELECT recipe FROM recipes")}
            if recipe not in known and len(known) >= most:
                return False
            now = datetime.now(UTC).isoformat(timespec="seconds")
            database.execute("INSERT OR IGNORE INTO recipes VALUES (?, ?, ?)", (recipe, now, run))
        return True

    def record(self, kind: Kind, people: Collection[Member], minimum: int, what: str, run: str) -> bool:
        """Write down that something about ``people`` leaves; False, and nothing written, if it must not.

        It must not where a block of fewer people than ``minimum`` would be left, or somebody among them withdrew.
        """
        chosen = frozenset(people)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")  # nobody writes between what is read here and what is written
            sets = _sets(database)
            if not {member.person for member in chosen}.isdisjoint(_withdrawn(database)):
                return False
            if len(chosen) < minimum or too_small([*(members for _, members in sets.values()), chosen], minimum):
                return False
            known = next((number for number, of in sets.items() if of == (kind, chosen)), None)
            if known is not None:
                database.execute(
                    "UPDATE releases SET last = ?, times = times + 1, what = ?, run = ? WHERE id = ?",
                    (now, what, run, known),
                )
                return True
            number = database.execute(
                "INSERT INTO releases (kind, people, first, last, times, what, run) VALUES (?, ?, ?, ?, 1, ?, ?)",
                (kind, len({member.person for member in chosen}), now, now, what, run),
            ).lastrowid
            rows = [(number, member.person, member.version) for member in sorted(chosen)]
            database.executemany("INSERT INTO members VALUES (?, ?, ?)", rows)
        return True

    def tell(self, choose: Choose) -> None:
        """Tell cells of tables of statistics, and write down over whom.

        Parameters
        ----------
        choose
            Of each family of tables takes the cells that were ever told, and returns those that are told now.
        """
        with self._open() as database:
            database.executescript(_CELLS)
            database.execute("BEGIN IMMEDIATE")
            earlier = _cells(database)
            for family, cells in choose(earlier).items():
                for cell in cells:
                    if cell in earlier.get(family, ()):
                        continue
                    number = database.execute("INSERT INTO cells (family) VALUES (?)", (family,)).lastrowid
                    rows = [(number, member.person, member.version) for member in sorted(cell)]
                    database.executemany("INSERT INTO cell_members VALUES (?, ?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with _database(self.path) as database:
                yield database
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self.path}: cannot be used ({error}). Without it nothing is released. Restore it from a backup."
            ) from error


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = FULL")  # on disk before anything leaves
        with database:
            yield database
    finally:
        database.close()


def _withdrawn(database: sqlite3.Connection) -> tuple[str, ...]:
    there = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'withdrawn'").fetchone()
    rows = database.execute("SELECT person FROM withdrawn ORDER BY number") if there else ()
    return tuple(person for (person,) in rows)


def _sets(database: sqlite3.Connection) -> dict[int, tuple[str, frozenset[Member]]]:
    """Kind and members of every set, by its number."""
    kinds = dict(database.execute("SELECT id, kind FROM releases"))
    found: dict[int, set[Member]] = {number: set() for number in kinds}
    for release, person, version in database.execute("SELECT release, person, version FROM members"):
        found[release].add(Member(person, version))
    return {number: (kinds[number], frozenset(members)) for number, members in found.items()}


def _cells(database: sqlite3.Connection) -> dict[str, list[frozenset[Member]]]:
    """The cells that were told, by family."""
    families = dict(database.execute("SELECT id, family FROM cells"))
    found: dict[int, set[Member]] = {number: set() for number in families}
    for cell, person, version in database.execute("SELECT cell, person, version FROM cell_members"):
        found[cell].add(Member(person, version))
    by_family: dict[str, list[frozenset[Member]]] = {}
    for number, members in found.items():
        by_family.setdefault(families[number], []).append(frozenset(members))
    return by_family
