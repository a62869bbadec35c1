"""A site's sums with noise: the Gaussian mechanism over people, whatever model the sums are for.

Each person's contribution (see `normfed_common.learning.bounded`) is one vector, shortened to a length of 1, so that
the total moves by at most 1 when a person's is left out. With noise N(0, z^2) in every entry that is one release of the
Gaussian mechanism with noise multiplier z, however many numbers there are (Dwork & Roth 2014, doi 10.1561/0400000042,
theorem A.1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import say
from normfed_common.foundation.errors import NormfedError
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Alone, Cohort
from normfed_common.privacy.noise import SecretNoise

OF_PEOPLE = (NormfedError, ArithmeticError, LookupError, OSError, ValueError)
"""What a scan can make a model raise; an error would tell of it. What a model's author got wrong is a TypeError."""


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
    multiplier: float,
) -> Arrays:
    """The sums of a phase as they may leave the site. Of whom no contribution can be made, zeros are added.

    Parameters
    ----------
    draws
        Returns what the person of a number draws from: the same whoever else is there.
    multiplier
        z, the standard deviation of the noise in every entry of the total of contributions; 0 for none.
    """
    total = {name: np.zeros(shape) for name, shape in sorted(bounded.shapes().items())}
    people, lost = len(cohort.people()), list[Exception]()
    for number in range(people):
        try:
            part = shortened(bounded.contribution(Alone(cohort, number), draws(number)))
            adding = [(array, part[name]) for name, array in total.items()]
        except OF_PEOPLE as error:
            lost.append(error)
            continue
        for array, added in adding:
            array += added
    if lost:
        say(f"{len(lost)} of {people} people are not in the sums ({lost[0]})")
    noisy = {name: noise.noised(array, multiplier) for name, array in total.items()}
    return noisy | bounded.beside(people)
