"""What a run is whole without: where it cannot be written, that is said, and no more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)


def attempted(run: Path, what: str, write: Callable[[], list[Path]]) -> list[Path]:
    """What was written; where that fails, a warning in the log says why, and none of it counts as written."""
    try:
        return write()
    except Exception as error:  # noqa: BLE001  (figures of the run are there all the same)
        logger.warning("no %s: %s: %s. Make them again: normfed report %s", what, type(error).__name__, error, run)
        return []
