"""A site's sums with noise: the Gaussian mechanism over people, whatever model the sums are for.

Each person's contribution (see `normfed_common.learning.bounded`) is one vector, shortened to a length of 1, so that
the total moves by at most 1 when a person's is left out. With noise N(0, z^2) in every entry that is one release of the
Gaussian mechanism with noise multiplier z, however many numbers there are (Dwork & Roth 2014, doi 10.1561/0400000042,
theorem A.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import say
from normfed_common.foundation.errors import NormfedError
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Alone, Cohort
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.noise import SecretNoise

OF_PEOPLE = (NormfedError, ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, ValueError)
"""What a scan can make a model, or torch, raise; an error would tell of it. What a model's author got wrong is a
TypeError."""


def lasting(error: Exception) -> bool:
    """Whether what failed for one person will fail for all who follow, so that leaving out the one is not enough.

    After torch's AcceleratorError a card computes nothing any more.
    """
    return type(error).__name__ == "AcceleratorError"


def shortened(contribution: Arrays) -> Arrays:
    """The same vector, no longer than 1; zeros in the place of one with an entry that is no finite number."""
    parts = {name: np.asarray(array, np.float64) for name, array in contribution.items()}
    if not all(np.isfinite(array).all() for array in parts.values()):
        return {name: np.zeros_like(array) for name, array in parts.items()}
    # First by the largest entry: the square of one that is only just finite is not.
    largest = max(1.0, *(float(np.abs(array).max(initial=0)) for array in parts.values()))
    parts = {name: array / largest for name, array in parts.items()}
    length = float(np.sqrt(sum(np.vdot(array, array) for array in parts.values())))
    return {name: array * (1 / max(length, 1 / largest)) for name, array in parts.items()}


def released(
    bounded: Bounded,
    cohort: Cohort,
    draws: Callable[[int], np.random.Generator],
    noise: SecretNoise,
    multiplier: float | NoiseShare,
) -> Arrays:
    """The sums of a phase as they may leave the site. Of whom no contribution can be made, zeros are added.

    Parameters
    ----------
    draws
        Returns what the person of a number draws from: the same whoever else is there.
    multiplier
        See `noised_total`.

    Raises
    ------
    SiteError
        If it is of too many people for its share of the noise.
    """
    numbers = range(len(cohort.people()))

    def contribution(number: int) -> Arrays:
        return bounded.contribution(Alone(cohort, number), draws(number))

    return noised_total(bounded, [partial(contribution, number) for number in numbers], noise, multiplier)


def noised_total(
    bounded: Bounded, contributions: Sequence[Callable[[], Arrays]], noise: SecretNoise, multiplier: float | NoiseShare
) -> Arrays:
    """The total of people's contributions with noise, and what is sent beside it; see `released`.

    Parameters
    ----------
    contributions
        One per person; whatever one raises, for that person zeros are added.
    multiplier
        z, the standard deviation of the noise in every entry of the total of contributions; 0 for none. Or this site's
        share of the noise of a secure sum: then the total is in whole steps of its grid.

    Raises
    ------
    SiteError
        If it is of too many people for its share of the noise.
    """
    share = multiplier if isinstance(multiplier, NoiseShare) else None
    # Whole steps of a grid are exact in float64: there are at most 2^50, as `NoiseShare.check` sees to.
    total = {name: np.zeros(shape) for name, shape in sorted(bounded.shapes().items())}
    people, lost = len(contributions), list[Exception]()
    if share is not None:
        share.check(people)
    for made in contributions:
        try:
            part = shortened(made())
            part = part if share is None else share.rounded(part)
            adding = [(array, part[name]) for name, array in total.items()]
        except OF_PEOPLE as error:
            if lasting(error):
                raise
            lost.append(error)
            continue
        for array, added in adding:
            array += added
    if lost:
        say(f"{len(lost)} of {people} people are not in the sums ({lost[0]})")

    def noised(array: np.ndarray) -> np.ndarray:
        if isinstance(multiplier, NoiseShare):
            return multiplier.noised(array, noise)
        return noise.noised(array, multiplier)

    return {name: noised(array) for name, array in total.items()} | bounded.beside(people)
