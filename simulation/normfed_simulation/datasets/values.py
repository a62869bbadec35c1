"""What cells of tables mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.participants import MAXIMUM_AGE, SEXES
from normfed_common.learning.cohort import Sex
from normfed_simulation.datasets.contents import Contents, subject
from normfed_simulation.datasets.naming import matches

CODES = {"1": "m", "2": "f"}


def years(said: str, unit: float = 1.0) -> float | None:
    """An age in years, from 0 as in a participants.tsv; None of what is none, as ``-9999`` or an empty cell.

    Parameters
    ----------
    unit
        Of the cell, in years.
    """
    try:
        age = float(said) * unit
    except ValueError:
        return None
    return age if 0 <= age <= MAXIMUM_AGE else None


def sex(said: str) -> Sex | None:
    """Of a word, or of 1 for men and 2 for women."""
    return SEXES.get(CODES.get(said, said).lower())


def table(root: Path, *patterns: str) -> Path | None:
    """The file below ``root`` whose name matches the first pattern that any does."""
    return next((path for pattern in patterns for path, _ in matches(root, pattern)), None)


def tell(found: Contents, names: Iterable[str], why: str) -> None:
    """Of people with the same problem, name the first and count them."""
    people = sorted(names)
    if people:
        more = f" (and so {len(people) - 1} more)" if len(people) > 1 else ""
        found.problems.append(Problem(subject(people[0].removeprefix("sub-")), f"{why}{more}"))


def strangers(found: Contents, scanned: Collection[str], listed: Collection[str], where: str) -> None:
    """Tell of people who have scans and no row of a table, and of those who have a row and no scans."""
    tell(found, set(scanned) - set(listed), f"has scans, but is not in {where}: left out")
    tell(found, set(listed) - set(scanned), f"is in {where}, but has no scans")
