"""A run's tables and figures: those of any run, and of a simulated one those of single patients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from normfed_common.algorithms.arms import FEDERATED
from normfed_server.paper import writing
from normfed_server.paper.attempts import attempted
from normfed_server.report.verdicts import best_baseline
from normfed_server.results.layout import RunResults
from normfed_server.results.paper_names import remove_stale
from normfed_server.runs.folder import FIGURES, PATIENTS, Run
from normfed_simulation import people

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_paper(run: Run) -> list[Path]:
    """Write tables/ and figures/ of a finished run; returns the paths."""
    results = people.results(run)
    found = writing.write_paper(run, results)
    if not run.sites_file.exists():
        return found
    from normfed_simulation.paper.tables import write_tables  # pandas

    return [
        *found,
        *attempted(run.folder, "tables of patients", lambda: write_tables(run, results)),
        *attempted(run.folder, "figures of patients", lambda: write_figures(run, results)),
    ]


def write_figures(run: Run, results: RunResults) -> list[Path]:
    """Draw what the run has of single patients into its figures/patients/; returns the paths."""
    from normfed_server.paper import style

    with style.drawing():
        drawn = [(name, figure) for name, figure in figures(run, results) if figure is not None]
        found = [path for name, figure in drawn for path in style.save(figure, run.folder / FIGURES / PATIENTS, name)]
    remove_stale(run.folder / FIGURES / PATIENTS, FIGURES, found)
    return found


def figures(run: Run, results: RunResults) -> Iterator[tuple[str, Figure | None]]:
    """By the names of their files; a figure is None where there are too few patients."""
    from normfed_server.paper import choice
    from normfed_simulation.paper import agreement
    from normfed_simulation.paper.volumes import lesions, volumes

    volume, lesion = volumes(run), lesions(run)
    yield "bland-altman", agreement.agreement(volume[volume["model"] == FEDERATED])
    yield "lesion-size", agreement.sizes(lesion[lesion["model"] == FEDERATED])
    best = best_baseline(results)
    if best is None:
        return
    for metric in choice.chief(results):
        ours, theirs = ({(row["site"], row["name"]): row for row in people.rows(run, of)} for of in (FEDERATED, best))
        both = [key for key in ours if key in theirs]
        mine, its = (np.array([of[key].get(metric) for key in both], float) for of in (ours, theirs))
        p = results.paired_p(best, metric)
        kinds = [str(ours[key]["kind"]) for key in both]
        title, other = results.metrics[metric].title, results.title(best)
        yield f"patients-{metric}", agreement.paired(mine, its, kinds, title, other, p)
