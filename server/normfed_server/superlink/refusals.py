"""The log of who was turned away at the door; a flood of strangers fills no disk and hides nobody else."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from normfed_common.processes.supervision import log_file

WINDOW_S = 60.0
LINES = 60  # within a window; what else happens is counted
COUNTED = 1000  # addresses with a reason, within a window
HOURLY = 20  # of them are told by themselves once an hour


def network(address: str) -> str:
    """What one stranger holds: an IPv4 address, or the 64 bits of an IPv6 address that a provider gives to one line."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(ip), 64), strict=False))
        ip = ip.ipv4_mapped
    return str(ip)


Turned = tuple[str, str, int, str]
"""Network, why, how often, and the hour (UTC, as 2026-07-01T13)."""


class Refusals:
    """Writes each reason once per address and minute, and how many more there were; sums them up hour by hour.

    Parameters
    ----------
    path
        Of the log.
    clock
        In seconds.
    hourly
        Told once an hour whom it turned away: at most so many as `HOURLY`, the most frequent, and the others together.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        hourly: Callable[[Turned], object] = lambda _turned: None,
        hour: Callable[[], str] = lambda: f"{datetime.now(UTC):%Y-%m-%dT%H}",
    ) -> None:
        self._log, self._clock, self._hourly, self._hour = log_file(path), clock, hourly, hour
        self._this_hour, self._turned, self._others = hour(), Counter[tuple[str, str]](), 0
        self._begin(clock())

    def note(self, address: str, why: str, path: str = "") -> None:
        """Somebody was turned away.

        Parameters
        ----------
        why
            One of a few reasons.
        path
            What was asked for; a stranger's text, written so that it can do nothing to who reads the log.
        """
        self.flush()
        key = (network(address), why)
        if key in self._turned or len(self._turned) < COUNTED:
            self._turned[key] += 1
        else:
            self._others += 1
        known = key in self._counts
        if not known and len(self._counts) < COUNTED:
            self._counts[key] = 0
        if not known and self._lines < LINES:
            self._lines += 1
            self._log.info(f"{address}: {why} {path[:80]!a}" if path else f"{address}: {why}")
            return
        self._left_out += 1
        if key in self._counts:
            self._counts[key] += 1

    def flush(self) -> None:
        """Say what was left out, once its minute is over; sum up the hour, once it is."""
        if self._hour() != self._this_hour:
            self.sum_up()
        now = self._clock()
        if now - self._since < WINDOW_S:
            return
        if self._left_out:
            most = ", ".join(f"{who} {why} ({n:,})" for (who, why), n in self._counts.most_common(3) if n)
            self._log.info(f"and {self._left_out:,} times more within a minute: {most or 'many addresses'}")
        self._begin(now)

    def sum_up(self) -> None:
        """Tell whom it turned away since the hour began; the server does so too when it stops."""
        turned, others, when = self._turned, self._others, self._this_hour
        self._this_hour, self._turned, self._others = self._hour(), Counter[tuple[str, str]](), 0
        for (who, why), times in turned.most_common(HOURLY):
            self._hourly((who, why, times, when))
        others += sum(times for _, times in turned.most_common()[HOURLY:])
        if others:
            self._hourly(("", "other addresses", others, when))

    def _begin(self, now: float) -> None:
        self._since, self._lines, self._left_out = now, 0, 0
        self._counts: Counter[tuple[str, str]] = Counter()
