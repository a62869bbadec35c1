"""The log of who was turned away at the door; a flood of strangers fills no disk and hides nobody else."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from normfed_common.processes.supervision import log_file

WINDOW_S = 60.0
LINES = 60  # within a window; what else happens is counted
COUNTED = 1000  # addresses with a reason, within a window


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


class Refusals:
    """Writes each reason once per address and minute, and how many more there were.

    Parameters
    ----------
    path
        Of the log.
    clock
        In seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log_file(path), clock
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
        """Say what was left out, once its minute is over."""
        now = self._clock()
        if now - self._since < WINDOW_S:
            return
        if self._left_out:
            most = ", ".join(f"{who} {why} ({n:,})" for (who, why), n in self._counts.most_common(3) if n)
            self._log.info(f"and {self._left_out:,} times more within a minute: {most or 'many addresses'}")
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._since, self._lines, self._left_out = now, 0, 0
        self._counts: Counter[tuple[str, str]] = Counter()
