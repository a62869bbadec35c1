"""The list of runs: what the operator wants of each, and how it stands. One SQLite file; the folders hold the rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from normfed_common.errors import RunError


class State(StrEnum):
    """How a run stands."""

    OPEN = "open"  # wanted: whatever dies, it is started again
    STOPPED = "stopped"  # by the operator
    FAILED = "failed"  # on something that only a person can mend
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
    starts
        How often Flower was told to run it since it last got further.
    why
        It failed, or in what it is partial.
    """

    name: str
    created: str
    state: State
    flower_run: int | None
    starts: int
    why: str


class Ledger:
    """All runs of a server; safe to use from several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, created TEXT NOT NULL, state TEXT NOT NULL, "
                "flower_run TEXT, starts INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '')"
            )

    def add(self, name: str) -> None:
        """A new run, wanted."""
        with self._open() as database:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            database.execute("INSERT INTO runs (name, created, state) VALUES (?, ?, ?)", (name, now, State.OPEN))

    def all(self) -> list[Entry]:
        """Every run, the latest last."""
        with self._open() as database:
            rows = database.execute("SELECT name, created, state, flower_run, starts, why FROM runs ORDER BY created")
            return [
                Entry(name, created, State(state), int(number) if number else None, starts, why)
                for name, created, state, number, starts, why in rows
            ]

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
        with self._open() as database:
            values = (str(flower_run), name)
            database.execute("UPDATE runs SET flower_run = ?, starts = starts + 1 WHERE name = ?", values)

    def progressed(self, name: str) -> None:
        """It got further: earlier failures to do so do not count any more."""
        with self._open() as database:
            database.execute("UPDATE runs SET starts = 1 WHERE name = ? AND starts > 1", (name,))

    def ended(self, name: str) -> None:
        """Flower does not run it any more."""
        with self._open() as database:
            database.execute("UPDATE runs SET flower_run = NULL WHERE name = ?", (name,))

    def set(self, name: str, state: State, why: str = "") -> None:
        """Change what is wanted of a run, or say how it ended."""
        with self._open() as database:
            database.execute("UPDATE runs SET state = ?, why = ?, starts = 0 WHERE name = ?", (state, why, name))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=30)
        try:
            with database:
                yield database
        finally:
            database.close()
