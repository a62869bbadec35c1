"""What of a hospital's tables may be told: of whatever anybody can work out, that it is about enough people.

A told **cell** is a run of neighbouring bins, and stands for the people in it. Everybody who is in exactly the same of
all cells that were ever told of a family of tables makes a block, as people in the same releases do (see `Releases`):
whatever anybody computes from the counts by adding and subtracting is made of whole blocks, and no block may hold fewer
people than the hospital's minimum. So of a bin that is not told by itself, anything from nobody up to all of a block
may be in it: what is left when told cells are taken from the total, or an earlier table from a later one, is no less.

A scanner's own numbers (`Table.whole`) differ so much from one person to the next that cells of those who have some in
a bin would all be too small. There a cell is everybody, and what can be worked out of such sums is a sum over blocks in
the same way; so in every run that is told, every block must have enough people, none of whom has nearly all. Nobody may
be missing who was in an earlier sum, as what is left of that one could not be looked at.

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
            look = _whole if all(table.whole for table in members) else _safe
            found = look(members, filled, people, minimum, before)
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


def _whole(
    tables: Sequence[Table], weights: Weights, people: Sequence[Member], minimum: int, earlier: Cells
) -> tuple[Runs, Cells] | None:
    """The runs in which every block has enough people, and everybody as the only cell; see the module."""
    everybody = frozenset(people)
    known = [*earlier, everybody]
    if any(not cell <= everybody for cell in earlier) or too_small(known, minimum):
        return None
    within = [np.array([person in cell for cell in known]).tobytes() for person in people]
    blocks = [np.flatnonzero([one == other for other in within]) for one in sorted(set(within))]
    chosen: Runs = {}
    for table in tables:
        parts = [weights[table.name][block] for block in blocks]
        if any(0 < np.count_nonzero(~part.any(1)) < minimum for part in parts):
            return None  # how many lack the scan can be told from the total
        occupied = np.flatnonzero(weights[table.name].any(0))
        chosen[table.name] = runs(occupied, lambda run, parts=parts: all(_enough(p, run, minimum) for p in parts))  # type: ignore[misc]
    return (chosen, [everybody]) if any(chosen.values()) else None


def _enough(weights: np.ndarray, run: Sequence[int], minimum: int) -> bool:
    """Whether enough of these people, or none, have something in a run, and none of them nearly all of it."""
    having = weights[:, list(run)].sum(1, keepdims=True)
    people = np.count_nonzero(having)
    return not people or bool(people >= minimum and not concentrated(having, minimum)[0])


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
