"""statistics.json: the cohorts of a study in figures, per site and merged, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from normfed_common.algorithms.arms import POOLED
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.files import write_text
from normfed_common.learning.bounded import PEOPLE
from normfed_common.statistics.tables import Table, by_name
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_server.arms.cohorts import Cohorts
from normfed_server.results.reading import read_as
from normfed_server.sites.description import SiteDescription
from normfed_server.state.notes import COHORTS

SIGMAS = 3.0  # of the noise, beyond which a count is more than noise
DROWNED = 40  # standard deviations of the noise: fewer people have no shape of a histogram


class Cell(Frozen):
    """People of whom no more is told than that they are in one of neighbouring bins."""

    first: int = Field(description="number of the first bin, from 0")
    last: int = Field(description="of the last; the same for a bin that is told by itself")
    what: str = Field(description="what they have in common")
    people: float = Field(description="a whole number, unless there is noise, or people have shares of bins")


class TableWords(Frozen):
    """What a table is about."""

    title: str
    bins: tuple[str, ...]
    edges: tuple[float, ...] = Field((), description="lower ends of the first bins, where these are ranges")
    unit: str = ""
    shares: bool = Field(False, description="whether a person is in several bins, with shares that add up to 1")
    open_below: bool = Field(False, description="whether all below the second edge, negative too, is in the first bin")


class CohortFigures(Frozen):
    """One site's people, or all sites' together."""

    people: int
    kinds: tuple[str, ...] = Field((), description="of lesion, those that the site names")
    tables: dict[str, tuple[Cell, ...]] = Field(
        description="by name; empty where nothing may be told, and cells that would be too small are in wider ones"
    )


class Statistics(Frozen):
    """statistics.json."""

    study: str
    digest: str = Field(description="of the study as resolved")
    tables: dict[str, TableWords]
    sites: dict[str, CohortFigures] = Field(description="none where all sums are secure")
    merged: CohortFigures
    missed: dict[str, str] = Field(description="site to why it is not in the figures")
    too_few: tuple[str, ...] = Field((), description="of these, sites with fewer people than their own minimum")
    minimum: int = Field(description="people below whom the study tells nothing of a site; hospitals may ask for more")
    epsilon: float | None = Field(None, description="of the noise, per patient")
    noise: tuple[float, float] = Field(
        (0.0, 0.0), description="its standard deviation in people, in a bin of a site's tables and of the merged ones"
    )
    secure: bool = Field(False, description="whether the server saw sums over several sites only")
    warnings: tuple[str, ...] = ()

    def noise_in(self, figures: CohortFigures) -> float:
        """Standard deviation, in people, of the noise in a bin of a site, or of the merged figures."""
        return self.noise[1] if figures is self.merged else self.noise[0]

    def drowned(self, figures: CohortFigures) -> bool:
        """Whether there are too few people for their noise to compare histograms by."""
        return figures.people < DROWNED * self.noise_in(figures)

    def beyond_noise(self, figures: CohortFigures, table: str) -> list[Cell]:
        """The cells of a site, or of the merged figures, that stand out of their noise; all of them without noise."""
        least = SIGMAS * self.noise_in(figures)
        return [cell for cell in figures.tables[table] if cell.people > least]


def assemble(study: StudyConfig, found: Cohorts, sites: Mapping[str, SiteDescription]) -> Statistics:
    """The figures, without the warnings that are read from them."""
    tables = by_name(study)
    kinds = {name: site.kinds for name, site in sites.items() if name != POOLED}
    every = sorted({kind for of in kinds.values() for kind in of})
    return Statistics(
        study=study.name,
        digest=study.digest,
        tables={
            name: TableWords(
                title=table.title,
                bins=table.bins,
                edges=table.edges,
                unit=table.unit,
                shares=table.shares,
                open_below=table.open_below,
            )
            for name, table in tables.items()
        },
        sites={site: _figures(arrays, tables, kinds.get(site, ())) for site, arrays in sorted(found.sites.items())},
        merged=_figures(found.merged, tables, tuple(every)),
        missed=dict(sorted(found.missed.items())),
        too_few=tuple(sorted(found.too_few)),
        minimum=study.federation.minimum_cohort,
        epsilon=study.privacy.epsilon,
        noise=found.noise,
        secure=study.privacy.secure_aggregation is not None,
    )


def _figures(arrays: Arrays, tables: Mapping[str, Table], kinds: tuple[str, ...]) -> CohortFigures:
    return CohortFigures(
        people=round(float(arrays[PEOPLE])),
        kinds=kinds,
        tables={name: _cells(arrays[name], table) for name, table in tables.items()},
    )


def _cells(array: np.ndarray, table: Table) -> tuple[Cell, ...]:
    return tuple(
        Cell(
            first=int(first),
            last=int(last),
            what=table.words(int(first), int(last)),
            people=round(float(array[first, last]), 6),
        )
        for first, last in np.argwhere(array > 0)
    )


def write(folder: Path, found: Statistics) -> None:
    """Write a run folder's statistics.json, atomically."""
    write_text(folder / COHORTS, found.model_dump_json(indent=1) + "\n")


def read(folder: Path) -> Statistics:
    """Read a run folder's statistics.json.

    Raises
    ------
    DamagedError
        If it is not one, or there is none.
    """
    return read_as(Statistics, folder / COHORTS, "Ask for the statistics again.")
