"""statistics.html: the cohorts of a study in figures, on one offline page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from plotly.offline import get_plotlyjs

from normfed_common.foundation.files import write_text
from normfed_common.statistics.tables import SEXES
from normfed_server.report.cohort_figures import (
    EVERYBODY,
    SEX_COLOURS,
    SEX_WORDS,
    SITE,
    in_noise,
    plots,
    pyramids,
    without_ages,
)
from normfed_server.report.cohort_grids import DARKEST, others, scales, sections, unsaid
from normfed_server.report.cohort_words import ALL, SURE, below, hides, rows
from normfed_server.report.rendering import templates
from normfed_server.results import cohorts
from normfed_server.runs.folder import Run
from normfed_server.state.notes import COHORTS_PAGE


def write_cohorts(run: Run) -> Path:
    """Write statistics.html beside statistics.json; returns its path.

    Raises
    ------
    DamagedError
        If the figures cannot be read.
    """
    found = cohorts.read(run.folder)
    page = (
        templates()
        .get_template("cohorts.html.jinja")
        .render(
            found=found,
            description=run.study.description,
            rows=rows(found),
            all_sites=ALL,
            below=below(found) if hides(found) else "",
            sexes=[(SEX_WORDS[sex], SEX_COLOURS[sex]) for sex in SEXES],
            colours={"site": SITE, "everybody": EVERYBODY},
            darkest=DARKEST,
            margins=[SURE * noise for noise in found.noise],
            pyramids=pyramids(found),
            without_ages=without_ages(found),
            in_noise=in_noise(found),
            plots=plots(found),
            scales=scales(found),
            grids=sections(found),
            unsaid=unsaid(found),
            others=others(found),
            written=datetime.now().strftime("%Y-%m-%d %H:%M"),
            plotly=get_plotlyjs(),
        )
    )
    path = run.folder / COHORTS_PAGE
    write_text(path, page)
    return path
