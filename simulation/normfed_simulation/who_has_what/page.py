"""Put the page together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from normfed_client.imaging.bids import Dataset
from normfed_common.foundation.errors import DatasetError
from normfed_common.foundation.files import write_text
from normfed_server.report.rendering import templates
from normfed_simulation.who_has_what import plots
from normfed_simulation.who_has_what.people import Row, rows

PLOTS = {  # by heading; an empty one is left out
    "Where they came from": plots.origins,
    "Groups": plots.groups,
    "Ages": plots.ages,
    "Sex": plots.sexes,
    "Kinds of lesion": plots.kinds,
    "Lesion load": plots.loads,
    "Modalities": plots.modalities,
    "Scanners": plots.scanners,
}


def write_page(path: Path, dataset: Dataset, before: Dataset, split: str) -> None:
    """Write one page that needs no network.

    Parameters
    ----------
    before
        The same people at the sites of the dataset.
    split
        What divided them, as a study says it; empty where nothing did.

    Raises
    ------
    DatasetError
        If the page cannot be written.
    """
    people, problems = rows(dataset, before)
    page = (
        templates("normfed_simulation.who_has_what")
        .get_template("page.html.jinja")
        .render(
            root=before.root,
            people=people,
            sites=summaries(people),
            split=split,
            plots={heading: drawn for heading, draw in PLOTS.items() if (drawn := draw(people))},
            problems=[*dataset.problems, *problems],
            plotly=get_plotlyjs(),
        )
    )
    try:
        write_text(path, page)
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written ({error.strerror}). Choose another place for the page."
        ) from error


def summaries(people: Sequence[Row]) -> list[tuple[str, int, int, str]]:
    """Per site: its name, people, visits, and the median age with the range; all sites last."""
    sites = sorted({row.site for row in people})
    parts = [(site, [row for row in people if row.site == site]) for site in sites]
    return [(name, len(of), sum(row.visits for row in of), _ages(of)) for name, of in [*parts, ("all", list(people))]]


def _ages(people: Sequence[Row]) -> str:
    ages = sorted(row.age for row in people if row.age is not None)
    if not ages:
        return "–"
    middle = (ages[(len(ages) - 1) // 2] + ages[len(ages) // 2]) / 2
    return f"{middle:.0f} ({ages[0]:.0f}–{ages[-1]:.0f})"
