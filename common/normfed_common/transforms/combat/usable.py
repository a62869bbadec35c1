"""Whether scanners can be told from people at all: what a site refuses before it sends a sum, in words.

The words stay in the site's own log, for they name its scanners; what leaves is a code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import HarmonizationError, SiteCode, SiteError, WireError
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import Shared, sums_of

LEAST_PEOPLE = 10  # of a scanner: of fewer, means and variances are mostly chance (Fortin 2018; Orlhac 2022)
LEAST_KNOWN = 0.5  # of a scanner's scans, those of whom a covariate is known
LEAST_SHARED = 0.5  # of a scanner's scans, those of an age that people of other scanners have
DECADES = 13  # to 130 years


def check_sites(
    sites: Sequence[Rows],
    covariates: Sequence[str],
    minimum_people: int,
    age_in_years: Callable[[np.ndarray], np.ndarray] = lambda age: age,
) -> None:
    """All of this of sites whose rows are at hand.

    Parameters
    ----------
    age_in_years
        Of the covariate called ``age``.

    Raises
    ------
    HarmonizationError
        If there is one scanner in all, or scanners cannot be told from people.
    """
    scanners = {scanner for rows in sites for scanner in rows.by_scanner()}
    if len(scanners) < 2:
        raise HarmonizationError(
            f"All scans are of one scanner ({', '.join(scanners) or 'there are none'}): there is nothing to harmonize. "
            "Say in the column scanner, or site, of participants.tsv which scans are of which."
        )
    try:
        for rows in sites:
            check_people(rows, minimum_people, covariates)
        if "age" in covariates:
            ages = [age_in_years(rows.covariates[:, list(covariates).index("age")]) for rows in sites]
            everybody = np.sum(
                [decades_of(*both) for both in zip(ages, (rows.people for rows in sites), strict=True)], axis=0
            )
            for rows, mine in zip(sites, ages, strict=True):
                check_ages(rows, mine, everybody)
        bare = [replace(rows, values=np.zeros((len(rows.values), 0))) for rows in sites]
        Shared.of(named.add([sums_of(rows) for rows in bare]), covariates)
    except SiteError as error:
        raise HarmonizationError(f"ComBat cannot harmonize these scans: {error.detail}.") from error
    except WireError as error:
        raise HarmonizationError(f"ComBat cannot harmonize these scans: {error}.") from error


def check_people(rows: Rows, minimum: int, names: Sequence[str]) -> None:
    """Every scanner has people enough, and most of them tell their covariates.

    Parameters
    ----------
    names
        Of the covariates.

    Raises
    ------
    SiteError
        If not; the detail says which scanner and what to do.
    """
    by_scanner = rows.by_scanner()
    for scanner, mine in by_scanner.items():
        people = len(np.unique(mine.people))
        if people < minimum:
            raise SiteError(
                SiteCode.SCANNER_TOO_SMALL,
                f"the scanner {scanner or 'without a name'} has {people} people to learn from, and ComBat takes at "
                f"least {minimum} (minimum_people): exclude them, or count them to a scanner that is like theirs",
            )
    for scanner, mine in by_scanner.items():
        for name, known in zip(names, np.isfinite(mine.covariates).mean(0), strict=True):
            if known < LEAST_KNOWN:
                raise SiteError(
                    SiteCode.COVARIATES_UNKNOWN,
                    f"at the scanner {scanner or 'without a name'} the {name} of {1 - known:.0%} of the scans is not "
                    f"known: fill in the column of participants.tsv, or leave {name} out of `covariates`",
                )


def decades_of(ages: np.ndarray, people: np.ndarray, minimum: int = 1) -> np.ndarray:
    """How many scans of these ages (n,), in years, are in each decade, float64 (DECADES,); 0 where they are of fewer
    ``people`` (n,) than the minimum. NaN counts nowhere."""
    known = np.isfinite(ages)
    decades = np.clip(ages[known] // 10, 0, DECADES - 1).astype(int)
    counts = np.bincount(decades, minlength=DECADES).astype(np.float64)
    owners = np.array([len(np.unique(people[known][decades == decade])) for decade in range(DECADES)])
    return np.where(owners >= minimum, counts, 0.0)


def check_ages(rows: Rows, ages: np.ndarray, everybody: np.ndarray, minimum: int = 1, counted: bool = True) -> None:
    """Most people of every scanner are of an age, by a decade or its neighbours, that people of other scanners have.

    Parameters
    ----------
    ages
        (n,) of the rows.
    everybody
        `decades_of` the people of all scanners, added up.
    minimum
        Of people in a decade, for anything to follow from them: who makes up ``everybody`` learns from refusals.
    counted
        Whether the rows are among everybody.

    Raises
    ------
    SiteError
        If not: age and scanner cannot be told apart then.
    """
    for scanner, mine in rows.by_scanner().items():
        own = decades_of(ages[rows.scanners == scanner], mine.people, minimum)
        others = everybody - own if counted else everybody
        if others.max(initial=0.0) < 0.5:  # nobody else
            continue
        near = np.convolve(others > 0.5, np.ones(3), "same") > 0
        shared = own[near].sum() / max(own.sum(), 1.0)
        if own.sum() and shared < LEAST_SHARED:
            raise SiteError(
                SiteCode.AGES_APART,
                f"only {shared:.0%} of the {len(mine.values)} scans of the scanner {scanner or 'without a name'} are "
                "of ages that people of other scanners have, so that age cannot be told from the scanner: exclude the "
                "scanner, or leave age out of `covariates`",
            )
