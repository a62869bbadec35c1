"""Which site's model serves which: means of sites' own models, pooled and federated at every site, beside chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from normfed_common.algorithms.arms import FEDERATED, POOLED
from normfed_server.results.chance import chance, from_chance
from normfed_server.results.layout import RunResults

Row = Sequence[float | None]


@dataclass(frozen=True)
class Matrix:
    """Of a metric.

    Parameters
    ----------
    tests
        Sites whose patients were tested, the columns.
    rows
        By the training site, then by what people read of the models that all sites trained.
    own
        How many rows are of a site's own model: the first ones.
    chances
        Of every column; None where it is not known.
    """

    tests: Sequence[str]
    rows: Mapping[str, Row]
    own: int
    chances: Row

    @cached_property
    def coloured(self) -> list[list[float | None]]:
        """How far every mean is from chance at the site, see `from_chance`; the means themselves where it is known of
        no site."""
        if not self.beside_chance:
            return [list(row) for row in self.rows.values()]
        return [
            [from_chance(mean, at) for mean, at in zip(row, self.chances, strict=True)] for row in self.rows.values()
        ]

    @property
    def beside_chance(self) -> bool:
        """Whether chance is known of any site."""
        return any(at is not None for at in self.chances)

    @cached_property
    def reach(self) -> float:
        """The largest colour on either side of zero; one where there is no mean but zero."""
        return max((abs(value) for row in self.coloured for value in row if value is not None), default=0.0) or 1.0


def matrix(results: RunResults, metric: str) -> Matrix | None:
    """Training site x test site; None without sites' own models."""
    found = results.matrix.get(metric, {})
    tests = sorted({test for row in found.values() for test in row})
    if not tests:
        return None
    rows = {trained: [row.get(test) for test in tests] for trained, row in found.items()}
    for name in (POOLED, FEDERATED):
        if name in results.evaluation:
            means = [results.evaluation[name].sites.get(test, {}).get(metric) for test in tests]
            rows[results.title(name)] = [None if mean is None else mean.mean for mean in means]
    return Matrix(tests, rows, len(found), [chance(results, metric, test) for test in tests])
