"""Tables and figures at the end of a run: it is whole without them, so that what goes wrong is said, and no more."""

from __future__ import annotations

from pathlib import Path

from normfed_server.paper.attempts import attempted
from normfed_server.results import layout
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import FIGURES, TABLES, Run, refuse_links


def write_paper(run: Run, results: RunResults | None = None) -> list[Path]:
    """Write tables/ and figures/ of a finished run; returns the paths.

    They are made of metrics.json and of the counts behind it, which name nobody; a site or a kind of lesion with one
    patient has that patient's figures.

    Parameters
    ----------
    results
        With p-values, where single patients are known; None reads metrics.json, which has none.

    Raises
    ------
    RunError
        If one of the two folders is a link, or holds one.
    """
    from normfed_server.paper.figures import write_figures  # pandas and matplotlib
    from normfed_server.paper.tables import write_tables

    results = results or layout.read(run.folder)
    refuse_links(run.folder, TABLES, FIGURES)
    return [
        *attempted(run.folder, "tables", lambda: write_tables(run, results)),
        *attempted(run.folder, "figures", lambda: write_figures(run.folder, results)),
    ]
