"""How a hospital's client stands, from what its processes wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normfed_client.hospital.folder import Hospital
from normfed_common.processes.supervision import is_running, read_services

TAIL_BYTES = 20_000
# What Flower's node says, what it means for a hospital, and whether that is well; the latest that matches counts.
CALLING = "calling the server"
MEANING = (
    ("Starting gRPC health server", CALLING, True),
    ("SuperNode ID", "connected", True),
    ("Connection successful", "connected again", True),
    ("Connection attempt failed", "the server does not answer; trying again", False),
    ("SSL/TLS handshake error", "the server's certificate is not the federation's: run normfed site check", False),
    (
        "[code: 2004]",
        "not let in: the key is not accepted, or the server still counts another connection with it, of a copy of this "
        "folder elsewhere or one that broke a minute ago; trying again",
        False,
    ),
    ("Sending:", "sending an answer", True),
    ("Sent successfully", "connected; the last answer was sent", True),
    ("Receiving:", "at work", True),
    ("Failed to send", "an answer could not be sent; it waits in the outbox", True),
)


@dataclass(frozen=True)
class Status:
    """What a status shows.

    Parameters
    ----------
    well
        Whether nothing is wrong with the connection, as far as the node's log says.
    """

    running: bool
    well: bool
    services: dict[str, dict[str, Any]]
    sentence: str
    last: list[str]


def status(hospital: Hospital) -> Status:
    """Look at the processes and at the ends of their logs."""
    running = is_running(hospital.log)
    node = _tail(hospital.log / "node.log")
    sentence, well = "not running. Start it: normfed site start", False
    if running:
        sentence, well = CALLING, True
        for line in node:
            for mark, meaning, good in MEANING:
                if mark in line:
                    sentence, well = meaning, good
    done = [line for line in _tail(hospital.log / "runner.log") if "answered in" in line or "refused" in line]
    return Status(running, well, read_services(hospital.log) if running else {}, sentence, done[-5:])


def _tail(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
