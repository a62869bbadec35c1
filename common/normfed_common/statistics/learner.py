"""Statistics of cohorts as sums of one phase, so that all that guards sums guards them: floors, ledger, noise, masks.

Without noise a table of n bins is an array (n, n): in row i and column j, j >= i, the people of whom a site tells no
more than that they are in one of the bins i to j. So sites that had to add up different neighbours still add up to one
table, and each person is in it once. With noise it is one number per bin, of everybody's own, or per few bins where a
person has shares of many.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import PEOPLE, Bounded
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import SUMS_ROUNDING, Setting
from normfed_common.statistics.names import PHASE
from normfed_common.statistics.tables import Table, tables
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig


class CohortStatistics(Learner):
    """See the module."""

    class Config(Frozen):
        """Nothing can be chosen."""

    def __init__(self, study: StudyConfig, setting: Setting) -> None:
        super().__init__(self.Config(), setting)
        self.tables = tables(study)

    def phases(self) -> tuple[Phase, ...]:
        """One."""
        return (Phase(PHASE, "summed"),)

    def counted(self, phase: str) -> Mapping[str, float]:
        """A person adds 1 to every table."""
        return dict.fromkeys((table.name for table in self.tables), 1.0)

    def check(self, phase: str, sums: Arrays) -> None:
        """Whether these are tables of people; a person whose scans could not be opened is in none."""
        check_shapes(sums, {table.name: (len(table.bins),) * 2 for table in self.tables} | {PEOPLE: ()})
        people = float(sums[PEOPLE])
        if not people >= 1:
            raise WireError("the tables are of nobody")
        for table in self.tables:
            array = sums[table.name]
            if np.tril(array, -1).any():
                raise WireError(f"{table.name} has people in ranges that end before they begin")
            if array.min(initial=0) < 0 or array.sum() > people * (1 + SUMS_ROUNDING):
                raise WireError(f"{table.name} is not of the {people:g} people whom the tables are of")

    def bounded(self, phase: str) -> OnePerTable:
        """See `Learner`."""
        return OnePerTable(self.tables)


class OnePerTable(Bounded):
    """A contribution is a person's row of every table, all divided by the root of how many tables there are: of a
    length of 1 at most, as no row is longer than 1."""

    def __init__(self, of: tuple[Table, ...]) -> None:
        self.tables, self.unit = of, float(np.sqrt(len(of)))

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """One number per bin, or run of bins."""
        return {table.name: (len(table.noisy_runs()),) for table in self.tables}

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """Scans do not say what a person is in the tables as; see `scaled`."""
        raise TypeError("statistics are made of people's rows, not of scans")

    def scaled(self, rows: Mapping[str, np.ndarray]) -> Arrays:
        """A contribution of a person's rows."""
        starts = {table.name: [first for first, _ in table.noisy_runs()] for table in self.tables}
        return {name: np.add.reduceat(rows[name], at) / self.unit for name, at in starts.items()}

    def beside(self, people: int) -> Arrays:
        """The number of people."""
        return {PEOPLE: np.asarray(float(people))}

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        """No fewer than nobody in a bin, and nobody twice: of all such tables the one nearest to the noisy one."""
        people, found = float(total[PEOPLE]), dict[str, np.ndarray]()
        for table in self.tables:
            first, last = np.transpose(table.noisy_runs())
            found[table.name] = np.zeros((len(table.bins),) * 2)
            found[table.name][first, last] = nearest(total[table.name] * self.unit, people)
        return found | {PEOPLE: total[PEOPLE]}


def nearest(counts: np.ndarray, most: float) -> np.ndarray:
    """The counts (bins,) without a negative one and of ``most`` at most together that are nearest to noisy ones.

    Where negative ones alone are cut off, noise in many empty bins adds people, and a scale that takes them away again
    takes as much from the bins that have some.

    Source: the most likely counts under Gaussian noise, Euclidean projection onto the simplex (Duchi et al. 2008, ICML,
    doi 10.1145/1390156.1390191); "norm-sub" in Wang et al. 2020 (NDSS, doi 10.14722/ndss.2020.24186).
    """
    positive = np.maximum(counts, 0)
    if positive.sum() <= most:
        return positive
    ordered = np.sort(counts)[::-1]
    excess = (np.cumsum(ordered) - most) / np.arange(1, len(counts) + 1)
    level = excess[np.flatnonzero(ordered > excess)[-1]]
    return np.maximum(counts - level, 0)
