"""The time that a ledger goes by: the machine's, but never further ahead than the machine has been running.

A budget is for 365 days, so a clock that is set forward by a year, by hand or by a false time server, would open
another. How long a machine runs is counted by its kernel, whatever the clock says. So what the clock said when the
ledger was first asked after a start bounds what it may say until the next start. Across a start the clock is believed.
"""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from normfed_common.foundation.damage import say

BOOT = Path("/proc/sys/kernel/random/boot_id")
SLACK, DRIFT = timedelta(hours=1), 1e-3  # clocks are set right by a little, and none runs evenly

_TABLE = "CREATE TABLE IF NOT EXISTS boots (boot TEXT PRIMARY KEY, time TEXT NOT NULL, running REAL NOT NULL)"


def now(database: sqlite3.Connection) -> datetime:
    """The time (UTC) by which the ledger in ``database`` goes, which remembers what the clock said."""
    clock, boot = wall(), started()
    if boot is None:
        return clock
    name, running = boot
    database.execute(_TABLE)
    row = database.execute("SELECT time, running FROM boots WHERE boot = ?", (name,)).fetchone()
    if row is None:
        database.execute("INSERT INTO boots VALUES (?, ?, ?)", (name, clock.isoformat(), running))
        return clock
    passed = timedelta(seconds=(running - row[1]) * (1 + DRIFT))
    latest = datetime.fromisoformat(row[0]) + passed + SLACK
    if clock <= latest:
        return clock
    say(
        f"the clock was set forward by {clock - latest} since the machine started: the ledger goes by the time that "
        "has passed. Start the machine anew if the clock is right now."
    )
    return latest


def wall() -> datetime:
    """What the machine's clock says."""
    return datetime.now(UTC)


def started() -> tuple[str, float] | None:
    """Which start of the machine this is, and how many seconds ago it was; None where the system does not say."""
    try:
        return BOOT.read_text(encoding="ascii").strip(), time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return None
