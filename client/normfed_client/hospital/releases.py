"""Over whom a hospital has released something, for ever; and what it may release next.

Two sums over sets of people that differ by one person give that person by subtraction, and so do three whose
differences are large but cross (A+B, B+C and A+C give B). So the hospital looks at all sets that it ever released of
one kind together: they cut its people into **blocks**, the people who were in exactly the same releases. Whatever
anybody computes from these sums by adding and subtracting is made of whole blocks. No block may ever hold fewer people
than the hospital's minimum.

A person whose scans were exported anew is the same person with another **version**: sums before and after differ by
what changed. So versions are cut into blocks in the same way.

People and versions are kept as keyed digests (`PeopleSecret`), in one SQLite file of the hospital's folder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from normfed_common.errors import UserError

# What can be set off against each other: what was learnt (sums, updates, losses), and figures of anomaly maps.
Kind = Literal["learning", "figures"]
Item = tuple[str, str]  # a person and their version; the person as such has the version ""

_TABLES = """
CREATE TABLE IF NOT EXISTS releases (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, people INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    times INTEGER NOT NULL, what TEXT NOT NULL, run TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members (release INTEGER NOT NULL, person TEXT NOT NULL, version TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS members_of ON members (release);
"""


@dataclass(frozen=True, order=True)
class Member:
    """A person in a release: keyed digests of the name and of all scans and masks."""

    person: str
    version: str


@dataclass(frozen=True)
class Release:
    """One set of people over whom something left the hospital.

    Parameters
    ----------
    kind
        Sets of different kinds have nothing that can be subtracted.
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

    Raises
    ------
    UserError
        If the file is missing or damaged: without it nobody knows what may still be released, so nothing is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise UserError(
                f"{path}: missing. It says over whom this hospital has released anything; without it nothing is "
                "released. Restore it from a backup, or join anew with normfed site join."
            )

    @classmethod
    def create(cls, path: Path) -> Releases:
        """A new record, for its owner only."""
        path.touch(0o600, exist_ok=False)
        made = cls(path)
        with made._open() as database:
            database.executescript(_TABLES)
        return made

    def all(self) -> list[Release]:
        """Every set, the latest last."""
        columns = "kind, people, first, last, times, what, run"
        with self._open() as database:
            return [Release(*row) for row in database.execute(f"SELECT {columns} FROM releases ORDER BY last, id")]

    def sets(self, kind: Kind) -> list[frozenset[Member]]:
        """Every set of one kind."""
        with self._open() as database:
            return list(_sets(database, kind).values())

    def record(self, kind: Kind, people: Collection[Member], minimum: int, what: str, run: str) -> bool:
        """Write down that something about ``people`` leaves; False, and nothing written, if it must not.

        It must not where a block of fewer people than ``minimum`` would be left.
        """
        chosen = frozenset(people)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")  # nobody writes between what is read here and what is written
            sets = _sets(database, kind)
            if len(chosen) < minimum or too_small([*sets.values(), chosen], minimum):
                return False
            known = next((number for number, members in sets.items() if members == chosen), None)
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

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = FULL")  # on disk before anything leaves
                with database:
                    yield database
            finally:
                database.close()
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self.path}: cannot be used ({error}). Without it nothing is released. Restore it from a backup."
            ) from error


def _sets(database: sqlite3.Connection, kind: Kind) -> dict[int, frozenset[Member]]:
    query = "SELECT release, person, version FROM members JOIN releases ON release = id WHERE kind = ?"
    found: dict[int, set[Member]] = {}
    for release, person, version in database.execute(query, (kind,)):
        found.setdefault(release, set()).add(Member(person, version))
    return {release: frozenset(members) for release, members in found.items()}


def blocks(sets: Iterable[Collection[Member]]) -> dict[frozenset[int], set[Item]]:
    """People and versions by the numbers of the sets that they are in."""
    memberships: dict[Item, set[int]] = {}
    for number, members in enumerate(sets):
        for member in members:
            for item in _items(member):
                memberships.setdefault(item, set()).add(number)
    found: dict[frozenset[int], set[Item]] = {}
    for item, numbers in memberships.items():
        found.setdefault(frozenset(numbers), set()).add(item)
    return found


def too_small(sets: Sequence[Collection[Member]], minimum: int) -> dict[frozenset[int], set[Item]]:
    """Blocks of fewer people than ``minimum`` that the last of the sets makes.

    Small blocks that were there before it are no news: the hospital's minimum was lower then.
    """
    before = {frozenset(block) for block in blocks(sets[:-1]).values()}
    return {
        where: block
        for where, block in blocks(sets).items()
        if len(_people(block)) < minimum and frozenset(block) not in before
    }


def releasable(
    people: Collection[Member], earlier: Sequence[Collection[Member]], minimum: int, order: Callable[[str], float]
) -> frozenset[Member]:
    """As many of ``people`` as may be in a release, after the ``earlier`` sets: all of them where that is possible.

    People who were never released wait until ``minimum`` of them do. Where few of a block would be left behind, others
    of the same block wait with them, so that ``minimum`` are; where a block has not enough people for that, all of it.

    Parameters
    ----------
    order
        Of a person's digest: who of a block waits first, a lot that nobody outside knows.
    """
    chosen = set(people)
    last = len(earlier)  # the number of the set that is sought
    while chosen:
        small = too_small([*earlier, chosen], minimum)
        if not small:
            break
        where, block = min(small.items(), key=lambda pair: min(pair[1]))  # the order of a set must not decide
        if last in where:
            waiting = _people(block)
        else:  # left behind by this release alone
            inside = blocks([*earlier, chosen]).get(where | {last}, set())
            beside = sorted(_people(inside) - _people(block), key=order)
            waiting = set(beside[: minimum - len(_people(block))])
        remaining = {member for member in chosen if member.person not in waiting}
        chosen = remaining if len(remaining) < len(chosen) else set()
    return frozenset(chosen) if len(chosen) >= minimum else frozenset()


def _items(member: Member) -> tuple[Item, Item]:
    return (member.person, ""), (member.person, member.version)


def _people(block: Collection[Item]) -> set[str]:
    return {person for person, _ in block}
