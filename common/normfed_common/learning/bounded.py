"""What one person adds to the sums of a phase where nobody's part may be told (differential privacy).

Sums alone say nothing of how much of them is one person's. Under privacy a phase has other sums, of bounded parts:

    contribution:  what one person adds, all arrays as one vector, whose length is about 1 in most people
    beside:        what is sent besides and is the same whoever the people are, such as their number
    repaired:      sums that people can have, for `Learner.absorb`, of the total of all sites with noise in it

The site shortens each contribution that is longer than 1, so that nobody, whatever their scans hold, moves the total by
more, and adds noise. The server adds up the sites' sums and repairs the total, once. What is done after the noise costs
no privacy (Dwork & Roth 2014, doi 10.1561/0400000042, 2.1).

Weights and centres in a contribution are public: of the template, the study or the number of people, never of scans.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.cohort import Cohort

PEOPLE = "people"  # how many they are, of all that is sent beside contributions
SIGMAS = 9.0  # beyond which no noise is believed: one in 10^17


class Bounded(ABC):
    """See the module."""

    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of the arrays of a contribution; the same at the server, which knows no template."""

    @abstractmethod
    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """What one person adds, all visits together, float64: of nobody else, and by no draw but those of ``rng``.

        Parameters
        ----------
        person
            A cohort of one person, whom it numbers 0.
        """

    @abstractmethod
    def beside(self, people: int) -> Arrays:
        """What is sent beside the total of so many people's contributions, additive like them; `PEOPLE` () is, too."""

    @abstractmethod
    def repaired(self, total: Arrays, noise: float) -> Arrays:
        """Sums that `Learner.check` takes.

        Parameters
        ----------
        total
            Of contributions, and what was sent beside them.
        noise
            Standard deviation in every entry of the total.
        """


class Wrapped(Bounded):
    """Another's, for a subclass to change some of."""

    def __init__(self, inner: Bounded) -> None:
        self.inner = inner

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The other's."""
        return self.inner.shapes()

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """The other's."""
        return self.inner.contribution(person, rng)

    def beside(self, people: int) -> Arrays:
        """The other's."""
        return self.inner.beside(people)

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        """The other's."""
        return self.inner.repaired(total, noise)


def longest(people: float, noise: float, dimension: int) -> float:
    """No total of so many contributions, with noise in its ``dimension`` numbers, is longer but for one in 10^17.

    Source: a Gaussian vector is longer than sqrt(d) + t with a chance below exp(-t^2 / 2) (Lipschitz concentration).
    """
    return float(people + noise * (np.sqrt(dimension) + SIGMAS))


def of_size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers arrays of these shapes have."""
    return int(sum(np.prod(shape, dtype=int) for shape in shapes.values()))
