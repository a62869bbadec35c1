"""Every table of a run: CSV with all digits, a row an observation; LaTeX rounded and laid out for a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation.files import atomic, write_text
from normfed_server.paper import choice
from normfed_server.paper import tables_of_people as people
from normfed_server.paper import tables_of_results as of
from normfed_server.paper.gains import gains
from normfed_server.paper.latex import Table, source
from normfed_server.results import frames
from normfed_server.results.layout import RunResults
from normfed_server.results.paper_names import remove_stale
from normfed_server.runs.folder import TABLES, Run

if TYPE_CHECKING:
    import pandas

FORMULA = ("=", "+", "-", "@")  # how one begins in a spreadsheet
FRAMES: Mapping[str, Callable[[RunResults], pandas.DataFrame]] = {
    "models": frames.models,
    "sites": frames.sites,
    "kinds": frames.kinds,
    "gains": gains,
    "league": frames.league,
    "matrix": frames.matrix,
    "calibration": frames.calibration,
    "rounds": frames.rounds,
    "cohorts": frames.cohorts,
}


def write_tables(run: Run, results: RunResults) -> list[Path]:
    """Write whatever the run has into its folder tables/, in the place of what is there; returns the paths."""
    folder, found = run.folder / TABLES, []
    for name, frame in FRAMES.items():
        if not (rows := frame(results)).empty:
            found.append(write_csv(folder, name, rows))
    found += [write_latex(folder, table) for table in tables(results)]
    remove_stale(folder, TABLES, found)
    return found


def write_csv(folder: Path, name: str, frame: pandas.DataFrame) -> Path:
    """All digits: what is read from the file is what was written, but for text that a spreadsheet would work out."""
    path = folder / f"{name}.csv"
    words = {column: frame[column].map(_inert) for column in frame.select_dtypes(exclude=["number", "bool"])}
    with atomic(path) as unfinished:
        frame.assign(**words).to_csv(unfinished, index=False, encoding="utf-8", lineterminator="\n")
    return path


def _inert(value: object) -> object:
    """A text of a dataset or a run, such as a scanner's name, with an apostrophe where it would be a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write_latex(folder: Path, table: Table) -> Path:
    """One file a table, for ``\\input``."""
    path = folder / f"{table.name}.tex"
    write_text(path, source(table))
    return path


def tables(results: RunResults) -> Iterator[Table]:
    """The LaTeX tables of a run."""
    yield people.cohorts(results)
    if FEDERATED in results.evaluation and not results.nobody_ill:
        yield from _of_lesions(results)
    if any(model.calibration for model in results.evaluation.values()):
        yield people.calibration(results)
    if results.rounds:
        yield people.participation(results)


def _of_lesions(results: RunResults) -> Iterator[Table]:
    yield from of.models(results)
    yield of.worst_sites(results)
    for metric in choice.chief(results):
        yield of.groups(results, metric, "sites")
        if results.evaluation[FEDERATED].kinds:
            yield of.groups(results, metric, "kinds")
        if 0 < len(results.matrix.get(metric, {})) <= of.WIDEST:
            yield of.matrix(results, metric)
    if results.differences:
        yield of.gains(results)
    if results.league and (ranked := [metric for metric in choice.CHIEF if metric in results.league[0].figures]):
        yield from (of.league(results, metric) for metric in ranked)
        if any(row.megabytes_per_round or row.seconds_per_round for row in results.league):
            yield of.costs(results)
