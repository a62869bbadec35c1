"""What of a hospital's tables may be told: of whatever anybody can work out, that it is about enough people.

A told **cell** is a run of neighbouring bins, and stands for the people in it. Everybody who is in exactly the same of
all cells that were ever told of a family of tables makes a block, as people in the same releases do (see `Releases`):
whatever anybody computes from the counts by adding and subtracting is made of whole blocks, and no block may hold fewer
people than the hospital's minimum. So of a bin that is not told by itself, anything from nobody up to all of a block
may be in it: what is left when told cells are taken from the total, or an earlier table from a later one, is no less.

Source: cell suppression and its complement (Hundepool et al. 2012, Statistical Disclosure Control, 4.4), here by adding
neighbours up, which tells more than empty cells do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from normfed_client.hospital.blocks import Member, too_small
from normfed_common.foundation.arrays import Arrays
from normfed_common.privacy.disclosure import concentrated, runs
from normfed_common.statistics.tables import Table

Cells = list[frozenset[Member]]
Weights = Mapping[str, np.ndarray]  # a table's name to (people, bins)
Runs = dict[str, list[list[int]]]  # a table's name to its runs of bins, each from the last bin down


def everything(of: Sequence[Table], weights: Weights) -> Arrays:
    """All tables as they are, (bins, bins) each: of a simulation, where the researcher holds all scans anyway."""
    return {table.name: np.diag(weights[table.name].sum(0)) for table in of}


def told(
    of: Sequence[Table],
    weights: Weights,
    people: Sequence[Member],
    minimum: int,
    earlier: Mapping[str, Collection[frozenset[Member]]],
) -> tuple[Arrays, dict[str, Cells]]:
    """As much of the tables as may be told after what was told ``earlier`` of each family.

    Returns
    -------
    Tables (bins, bins), see `normfed_common.statistics.learner`; and the cells that are told with them, by family. Of a
    family of which nothing may be told the tables are empty.
    """
    arrays: Arrays = {table.name: np.zeros((len(table.bins),) * 2) for table in of}
    cells: dict[str, Cells] = {}
    for family in dict.fromkeys(table.family for table in of):
        members = [table for table in of if table.family == family]
        before = list(earlier.get(family, ()))
        for filled in _alternatives(family, members, weights, minimum):
            found = _safe(members, filled, people, minimum, before)
            if found is None:
                continue
            chosen, cells[family] = found
            for name, parts in chosen.items():
                for run in parts:
                    arrays[name][run[-1], run[0]] = filled[name][:, run].sum()
            break
    return arrays, cells


def _alternatives(
    family: str, tables: Sequence[Table], weights: Weights, minimum: int
) -> Iterator[dict[str, np.ndarray]]:
    """A family's tables as they are, and then as they tell less."""
    filled = {table.name: weights[table.name] for table in tables}
    filled |= {table.name: _filled(weights[table.name], minimum) for table in tables if table.shares}
    yield filled
    if family == "age":
        together = sum(filled.values(), np.zeros_like(filled["age-unknown"]))
        yield {name: together if name == "age-unknown" else np.zeros_like(array) for name, array in filled.items()}


def _filled(weights: np.ndarray, minimum: int) -> np.ndarray:
    """Where too few lack a scan for that to be told, they count as the mean of the others."""
    lacking: np.ndarray = ~np.any(weights, axis=1)
    if not 0 < lacking.sum() < minimum or lacking.all():
        return weights
    return np.where(lacking[:, None], weights[~lacking].mean(0), weights)


def _safe(
    tables: Sequence[Table], weights: Weights, people: Sequence[Member], minimum: int, earlier: Cells
) -> tuple[Runs, Cells] | None:
    """The runs of each table, as short as may be, and the cells that they make; None where none may be told."""
    chosen = {table.name: _runs(table, weights[table.name], minimum) for table in tables}
    while any(chosen.values()):
        cells = _cells(chosen, weights, people)
        if not too_small([*earlier, *cells], minimum, len(cells)):
            return chosen, cells
        if not _merged(chosen, weights):
            break
    return None


def _runs(table: Table, weights: np.ndarray, minimum: int) -> list[list[int]]:
    present = np.asarray(weights > 0)

    def enough(places: Sequence[int]) -> bool:
        if np.count_nonzero(np.any(present[:, list(places)], axis=1)) < minimum:
            return False
        # Where everybody has a little in every bin, one with nearly all of a bin is not hidden by the others.
        return not (table.shares and concentrated(weights[:, list(places)].sum(1, keepdims=True), minimum)[0])

    return runs(np.flatnonzero(present.any(0)), enough)


def _cells(chosen: Runs, weights: Weights, people: Sequence[Member]) -> Cells:
    """The people in each run, and everybody: that there is nobody else is told as well."""
    found = {frozenset(people)}
    for name, parts in chosen.items():
        for run in parts:
            found.add(frozenset(people[number] for number in np.flatnonzero(weights[name][:, run].any(1)).tolist()))
    return sorted(found, key=sorted)


def _merged(chosen: Runs, weights: Weights) -> bool:
    """Join the two neighbouring runs that hold fewest people together; False where no table has two."""
    pairs = [
        (int(weights[name][:, parts[at] + parts[at + 1]].any(1).sum()), name, at)
        for name, parts in chosen.items()
        for at in range(len(parts) - 1)
    ]
    if not pairs:
        return False
    _, name, at = min(pairs)
    chosen[name][at : at + 2] = [chosen[name][at] + chosen[name][at + 1]]
    return True
