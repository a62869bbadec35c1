"""Age and sex as numbers about 0, for regression on them: people of whom they are not known count with the mean.

    age: (a - mean) / sd, within -2 to 2;  sex: 1 if male, else 0, minus the share of men

Mean, sd and share are of all sites' people, from sums. Ages are drawn into the range that these people cover, so that
nobody is judged by a line beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Person
from normfed_common.learning.setting import SUMS_ROUNDING

OLDEST = 130.0  # years
COVERED = 2.0  # standard deviations on either side of the mean
NAMES = ("aged", "age", "age_squares", "sexed", "male")


class Covariates:
    """See the module.

    Attributes
    ----------
    dimension
        Numbers per person.
    bound
        What none of them exceeds by magnitude.
    counted
        As `Learner.counted` says it.
    """

    dimension: ClassVar[int] = 2
    bound: ClassVar[float] = COVERED
    counted: ClassVar[Mapping[str, float]] = {
        "aged": 1,
        "age": OLDEST,
        "age_squares": OLDEST**2,
        "sexed": 1,
        "male": 1,
    }

    def statistics(self, cohort: Cohort) -> Arrays:
        """Scans of people whose age is known, their ages and squares, those whose sex is known, and men; (1,) each."""
        total = dict.fromkeys(NAMES, 0.0)
        for number in range(len(cohort)):
            person = cohort.scan(number).person
            if person.age is not None:
                age = min(max(person.age, 0.0), OLDEST)
                total["aged"] += 1
                total["age"] += age
                total["age_squares"] += age**2
            if person.sex is not None:
                total["sexed"] += 1
                total["male"] += person.sex == "M"
        return {name: np.array([value]) for name, value in total.items()}

    def check(self, sums: Arrays) -> None:
        """Ages are of people, and (sum a)^2 <= n sum a^2.

        Raises
        ------
        WireError
            If not.
        """
        check_shapes(sums, dict.fromkeys(NAMES, (1,)))
        aged, age, squares, sexed, male = (float(sums[name][0]) for name in NAMES)
        more = 1 + SUMS_ROUNDING
        if not (0 <= age <= OLDEST * aged * more and 0 <= squares <= OLDEST * age * more and 0 <= male <= sexed * more):
            raise WireError("ages or sexes are not those of people")
        if age**2 > aged * squares * more:
            raise WireError("ages and their squares contradict each other")

    def absorb(self, total: Arrays) -> None:
        """Mean and spread of age, and share of men, from the sums over all sites."""
        aged, age, squares, sexed, male = (float(total[name][0]) for name in NAMES)
        self.mean_age = age / aged if aged else 0.0
        variance = squares / aged - self.mean_age**2 if aged else 0.0
        self.spread = float(np.sqrt(variance)) if variance > SUMS_ROUNDING * self.mean_age**2 else 0.0
        self.men = male / sexed if sexed else 0.0

    def of(self, person: Person) -> np.ndarray:
        """(2,): age and sex."""
        known = person.age is not None and self.spread > 0
        age = (person.age - self.mean_age) / self.spread if known and person.age is not None else 0.0
        sex = 0.0 if person.sex is None else (person.sex == "M") - self.men
        return np.array([min(max(age, -COVERED), COVERED), sex])
