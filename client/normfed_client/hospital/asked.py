"""How often a run has asked a hospital about what: one SQLite file per run, beside what else is kept of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FILE = "asked.sqlite"


class Asked:
    """The different requests of one run; the same request again is not another.

    Parameters
    ----------
    folder
        The run's own.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def note(self, task: str, arm: str, round: int, key: str) -> tuple[int, int]:
        """Write down a request; returns how many different ones there are about the same, and about how many models.

        Parameters
        ----------
        key
            A digest of all that the request says.
        """
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            columns = "task TEXT, arm TEXT, round INTEGER, key TEXT, PRIMARY KEY (arm, key)"
            database.execute(f"CREATE TABLE IF NOT EXISTS asked ({columns})")
            database.execute("INSERT OR IGNORE INTO asked VALUES (?, ?, ?, ?)", (task, arm, round, key))
            same = "SELECT COUNT(*) FROM asked WHERE arm = ? AND task = ? AND round = ?"
            count: int = database.execute(same, (arm, task, round)).fetchone()[0]
            models: int = database.execute("SELECT COUNT(DISTINCT arm) FROM asked").fetchone()[0]
        return count, models
