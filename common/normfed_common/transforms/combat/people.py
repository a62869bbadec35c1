"""Whose scans they are, as ComBat must know it: the scanner, the person, and what is kept of age and sex."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normfed_common.learning.cohort import Person
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.usable import DECADES

MIDDLE = 50.0  # years
OLDEST = (10 * DECADES - MIDDLE) / 10  # as a covariate, the largest that there is


def rows_of(people: Sequence[Person], names: Sequence[str]) -> Rows:
    """A row per scan, without features; ``names`` are those of the covariates."""
    return Rows.of(
        np.zeros((len(people), 0)),
        [person.scanner for person in people],
        np.array([covariates_of(person, names) for person in people]).reshape(len(people), -1),
        [person.index for person in people],
    )


def covariates_of(person: Person, names: Sequence[str]) -> np.ndarray:
    """(q,), NaN where unknown: decades after the age of 50, so that no sum is large; and 1 for men."""
    told = {
        "age": None if person.age is None else (person.age - MIDDLE) / 10,
        "sex": None if person.sex is None else float(person.sex == "M"),
    }
    return np.array([np.nan if told[name] is None else told[name] for name in names], np.float64)


def ages_of(rows: Rows, names: Sequence[str]) -> np.ndarray:
    """Years (n,), of rows of which age is a covariate."""
    found: np.ndarray = MIDDLE + 10 * rows.covariates[:, list(names).index("age")]
    return found
