"""A damaged file of a run: set apart, and said; what it held is made again by whoever asks for it."""

from __future__ import annotations

import logging
from pathlib import Path

from normfed_common.foundation.errors import DamagedError
from normfed_common.foundation.files import set_apart
from normfed_server.events.kinds import Damaged
from normfed_server.events.log import EventLog

logger = logging.getLogger("normfed_server")


def put_aside(events: EventLog, arm: str, path: Path, error: DamagedError) -> None:
    """Rename a damaged file of an arm, and say so in the run's events and in the log."""
    kept = set_apart(path)
    logger.error("%s: damaged (%s). It is kept as %s, and made again.", path, error.why, kept.name)
    events.say(Damaged(arm=arm, file=path.name, kept=kept.name, why=error.why))
