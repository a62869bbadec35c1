"""How a hospital's client stands, from what its processes wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normfed_client.operation.home import Hospital
from normfed_common.operation.processes import is_running, read_services

TAIL_BYTES = 20_000
# What Flower's node says, and what it means for a hospital; the latest that matches counts.
MEANING = (
    ("SuperNode ID", "connected"),
    ("Connection successful", "connected again"),
    ("Connection attempt failed", "the server does not answer; trying again"),
    ("SSL/TLS handshake error", "the server's certificate is not the federation's: run normfed site check"),
    (
        "code 305",
        "not let in: the key is not accepted, or the server still counts another connection with it, of a copy of this "
        "folder elsewhere or one that broke a minute ago",
    ),
    ("Sending:", "sending an answer"),
    ("Sent successfully", "connected; the last answer was sent"),
    ("Receiving:", "at work"),
    ("Failed to send", "an answer could not be sent; it waits in the outbox"),
)


@dataclass(frozen=True)
class Standing:
    """What a status shows."""

    running: bool
    services: dict[str, dict[str, Any]]
    sentence: str
    last: list[str]


def standing(hospital: Hospital) -> Standing:
    """Look at the processes and at the ends of their logs."""
    running = is_running(hospital.log)
    node = _tail(hospital.log / "node.log")
    sentence = "not running. Start it: normfed site start"
    if running:
        sentence = "calling the server"
        for line in node:
            for mark, meaning in MEANING:
                if mark in line:
                    sentence = meaning
    done = [line for line in _tail(hospital.log / "runner.log") if "answered in" in line or "refused" in line]
    return Standing(running, read_services(hospital.log) if running else {}, sentence, done[-5:])


def _tail(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
