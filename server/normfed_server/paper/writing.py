"""Tables and figures at the end of a run: it is whole without them, so that what goes wrong is said, and no more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from normfed_server.results import layout
from normfed_server.runs.folder import Run

logger = logging.getLogger(__name__)


def write_paper(run: Run) -> list[Path]:
    """Write tables/ and figures/ of a finished run; returns the paths.

    They are made of metrics.json and of the counts behind it, which name nobody; a site or a kind of lesion with one
    patient has that patient's figures.
    """
    from normfed_server.paper.figures import write_figures  # pandas and matplotlib
    from normfed_server.paper.tables import write_tables

    results = layout.read(run.folder)
    return [
        *attempted(run.folder, "tables", lambda: write_tables(run, results)),
        *attempted(run.folder, "figures", lambda: write_figures(run.folder, results)),
    ]


def attempted(run: Path, what: str, write: Callable[[], list[Path]]) -> list[Path]:
    """What was written; where that fails, a warning in the log says why, and none of it counts as written."""
    try:
        return write()
    except Exception as error:  # noqa: BLE001  (figures of the run are there all the same)
        logger.warning("no %s: %s: %s. Make them again: normfed report %s", what, type(error).__name__, error, run)
        return []
