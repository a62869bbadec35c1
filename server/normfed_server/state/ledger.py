"""The list of runs: what the operator wants of each, and how it stands. The folders hold the rest.

One SQLite file, and a copy of it as JSON after every change. A list that is damaged or gone is made again from the
copy, or else from the run folders, and what is done is said.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import exclusive
from normfed_server.state.notes import COORDINATOR, OUTCOME, read

T = TypeVar("T")

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
COLUMNS = "name, created, state, flower_run, why"

logger = logging.getLogger("normfed_server")


class State(StrEnum):
    """How a run stands."""

    OPEN = "open"  # wanted: whatever dies, it is started again
    STOPPED = "stopped"  # by the operator
    FAILED = "failed"  # on something that only a person can fix
    FINISHED = "finished"
    PARTIAL = "finished, partial"


DONE = (State.FINISHED, State.PARTIAL)


@dataclass(frozen=True)
class Entry:
    """One run.

    Parameters
    ----------
    flower_run
        The number under which Flower runs it now; None when it does not.
    why
        It failed, does not run just now, or in what it is partial.
    """

    name: str
    created: str
    state: State
    flower_run: int | None
    why: str


class Ledger:
    """All runs of a server; safe to use from several processes.

    Parameters
    ----------
    path
        The SQLite file. Beside it lie its copy (.json) and the folder with the run folders.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.copy, self.runs = path, path.with_suffix(".json"), path.parent / "runs"
        self.all()

    def add(self, name: str) -> None:
        """A new run, wanted."""
        self._change("INSERT INTO runs (name, created, state) VALUES (?, ?, ?)", (name, _now(), State.OPEN))

    def all(self) -> list[Entry]:
        """Every run, the latest last."""
        return self._repaired(self._read)

    def get(self, name: str) -> Entry:
        """One run.

        Raises
        ------
        RunError
            If there is none of this name.
        """
        found = {entry.name: entry for entry in self.all()}
        if name not in found:
            raise RunError(f"No run is called {name}. Runs: {', '.join(found) or 'none yet'}.")
        return found[name]

    def running(self, name: str, flower_run: int) -> None:
        """Flower runs it now."""
        self._change("UPDATE runs SET flower_run = ?, why = '' WHERE name = ?", (str(flower_run), name))

    def interrupted(self, name: str, why: str) -> None:
        """Say why a run that is wanted does not run just now."""
        self._change("UPDATE runs SET why = ? WHERE name = ? AND state = ?", (why, name, State.OPEN))

    def ended(self, name: str) -> None:
        """Flower does not run it any more."""
        self._change("UPDATE runs SET flower_run = NULL WHERE name = ?", (name,))

    def set(self, name: str, state: State, why: str = "") -> None:
        """Change what is wanted of a run, or say how it ended."""
        self._change("UPDATE runs SET state = ?, why = ? WHERE name = ?", (state, why, name))

    def _change(self, statement: str, values: tuple[str, ...]) -> None:
        def change() -> None:
            with self._open() as database:
                database.execute(statement, values)

        self._repaired(change)
        with contextlib.suppress(OSError), exclusive(self.path.with_suffix(".lock")):  # a full disk must not end a run
            write_json(self.copy, [asdict(entry) for entry in self._read()])

    def _read(self) -> list[Entry]:
        with self._open() as database:
            rows = database.execute(f"SELECT {COLUMNS} FROM runs ORDER BY created, rowid")
            return [_entry(*row) for row in rows]

    def _repaired(self, work: Callable[[], T]) -> T:
        """Do something with the list; where that shows damage, make the list again first."""
        if not self.path.exists():
            self._restore("is not there")
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            damage = str(error)
        except ValueError as error:  # a row that makes no sense
            damage = str(error)
        self._restore(f"is damaged ({damage})")
        return work()

    def _restore(self, why: str) -> None:
        """Make the list from its copy or the run folders; another process may have done so a moment ago."""
        with exclusive(self.path.with_suffix(".lock")):
            if self.path.exists():
                if self._is_well():
                    return
                aside = self.path.with_name(f"{self.path.name}.damaged-{datetime.now():%Y%m%d-%H%M%S}")
                for ending in ("", "-wal", "-shm"):
                    path = self.path.with_name(self.path.name + ending)
                    if path.exists():
                        path.rename(aside.with_name(aside.name + ending))
                why += f", and was set aside as {aside.name}"
            entries, source = self._known()
            with self._open() as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("BEGIN IMMEDIATE")  # else the table is there, and empty, before its rows are
                database.execute(
                    "CREATE TABLE runs (name TEXT PRIMARY KEY, created TEXT NOT NULL, state TEXT NOT NULL, "
                    "flower_run TEXT, why TEXT NOT NULL DEFAULT '')"
                )
                number = [None if e.flower_run is None else str(e.flower_run) for e in entries]
                rows = [(e.name, e.created, e.state, n, e.why) for e, n in zip(entries, number, strict=True)]
                database.executemany(f"INSERT INTO runs ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", rows)
            write_json(self.copy, [asdict(entry) for entry in entries])
        if entries:
            logger.warning("%s %s. The list of runs was made again from %s.", self.path, why, source)

    def _is_well(self) -> bool:
        try:
            self._read()
        except sqlite3.DatabaseError as error:
            return not _is_damage(error)
        except ValueError:
            return False
        return True

    def _known(self) -> tuple[list[Entry], str]:
        """Every run, and where that is known from."""
        try:
            raw = json.loads(self.copy.read_text(encoding="utf-8"))
            return [_entry(**entry) for entry in raw], f"its copy {self.copy.name}"
        except (OSError, ValueError, TypeError):
            folders = sorted(path.parent for path in self.runs.glob("*/study.yaml"))
            return [_from_folder(folder) for folder in folders], (
                "the run folders; runs that had not ended are stopped: normfed server resume RUN"
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=30)
        try:
            with database:
                yield database
        finally:
            database.close()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is not what it was; a cut to nothing leaves a valid list without tables."""
    return error.sqlite_errorcode in DAMAGED or "no such table" in str(error)


def _entry(name: str, created: str, state: str, flower_run: str | int | None, why: str) -> Entry:
    return Entry(name, created, State(state), None if flower_run is None else int(flower_run), why)


def _from_folder(folder: Path) -> Entry:
    """A run as its folder tells of it; one that had not ended counts as stopped, since who knows what is wanted."""
    created = datetime.fromtimestamp((folder / "study.yaml").stat().st_mtime, UTC).isoformat(timespec="seconds")
    outcome, worker = read(folder / OUTCOME), read(folder / COORDINATOR)
    state, why = State.STOPPED, "the list of runs was lost"
    if outcome is not None and outcome.get("state") == "failed":
        state, why = State.FAILED, str(outcome.get("why", ""))
    elif outcome is not None:
        state, why = State.OPEN, ""  # finished: the reconciler settles it, and says whether it is partial
    return Entry(folder.name, created, state, worker.get("flower_run") if worker and not outcome else None, why)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
