"""Which lists of sites a hospital signed for secure sums, for good: beside what it released, in the same file.

A run's folder is thrown away some day, and its lists with it (`SecureSums`); a server can begin another run of the same
study with other sites. See `normfed_common.secure.lists`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.secure.lists import too_few

_TABLE = """
CREATE TABLE IF NOT EXISTS signed_lists (
    what TEXT NOT NULL, sites TEXT NOT NULL, first TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (what, sites));
"""  # made when first needed: the records of hospitals that joined before there was one have none


class SignedLists:
    """See the module.

    Parameters
    ----------
    record
        The hospital's record of releases, which is there.
    """

    def __init__(self, record: Path) -> None:
        self.record = record

    def check(self, what: str, sites: Collection[str], minimum: int) -> None:
        """Refuse a sum over sites that lies too close to earlier ones of the same.

        Parameters
        ----------
        what
            A digest of what is added up: the same in every run in which a site's part is the same, or nearly so.
        minimum
            Sites that a sum, and so a difference of sums, is over at least.

        Raises
        ------
        SiteError
            If so, or if the record cannot be used.
        """
        self._put(what, sites, minimum, None)

    def sign(self, what: str, sites: Collection[str], minimum: int, run: str) -> None:
        """Write down, before it is signed, over whom a sum is; see `check`."""
        self._put(what, sites, minimum, run)

    def _put(self, what: str, sites: Collection[str], minimum: int, run: str | None) -> None:
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")  # nobody writes between what is read here and what is written
            rows = database.execute("SELECT sites FROM signed_lists WHERE what = ?", (what,))
            few = too_few([json.loads(row[0]) for row in rows], sites, minimum)
            if not few and run is not None:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                entry = (what, json.dumps(sorted(sites)), now, run)
                database.execute("INSERT OR IGNORE INTO signed_lists VALUES (?, ?, ?, ?)", entry)
        if few:
            raise SiteError(
                SiteCode.SECURE_SUM_REFUSED,
                f"the sum over {', '.join(sorted(sites))} and those of earlier runs give {', '.join(sorted(few))} "
                f"apart by subtraction, which are fewer than {minimum} sites. With privacy.epsilon in the study every "
                "part has noise, and it may be asked for.",
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.record, timeout=30, isolation_level=None)) as database, database:
                database.execute("PRAGMA synchronous = FULL")  # on disk before anything leaves
                database.execute(_TABLE)
                yield database
        except (sqlite3.DatabaseError, ValueError) as error:
            raise SiteError(SiteCode.RECORD_UNUSABLE, f"{self.record}: cannot be used ({error})") from error


def count(database: sqlite3.Connection) -> int:
    """How many lists an open record holds."""
    database.execute(_TABLE)
    found: int = database.execute("SELECT COUNT(*) FROM signed_lists").fetchone()[0]
    return found
