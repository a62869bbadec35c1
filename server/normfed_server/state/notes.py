"""Small files in a run's folder, by which its process, the reconciler and the operator tell each other things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COORDINATOR = "coordinator.json"  # which process works on the run
OUTCOME = "outcome.json"  # how it ended, once it did
CRASH = "crash.json"  # the error that last ended its process
DEATHS = "deaths.json"  # how often its process died since the run last got further
EXCUSED = "excused.json"  # sites that the operator said may be left out
OPTIONS = "options.json"  # how the operator started the run
LOG = "server.log"
COHORTS, COHORTS_PAGE = "statistics.json", "statistics.html"  # of a run that counts and trains nothing


def read(path: Path) -> dict[str, Any] | None:
    """What such a file says; None where there is none, or it is damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
