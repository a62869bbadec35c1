"""Age and sex as what a normal brain is predicted from, by sums over people.

    age:  (clip(age, m - 2 s, m + 2 s) - m) / s,  m and s the mean and standard deviation of the ages trained on
    sex:  (male - p) / sqrt(p (1 - p)),  p the share of men

Nobody is predicted beyond the ages that were seen: a slope that is extrapolated does worse than none. Who does not say
counts as the mean, 0. The sums that make m, s and p are over scans, six numbers a site.

Whoever chooses m and s cuts the people in two wherever they like, and the sum of x y is then that of the few beyond the
cut. So a hospital tells ages and sexes of groups of people only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Person
from normfed_common.learning.setting import SUMS_ROUNDING

Covariate = Literal["age", "sex"]


def _once(names: tuple[Covariate, ...]) -> tuple[Covariate, ...]:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is named twice: say it once")
    return names


Regressors = Annotated[tuple[Covariate, ...], AfterValidator(_once)]
OLDEST = 130.0  # years; nobody was older
REACH = 2.0  # standard deviations of age around its mean that normal people support


class Covariates:
    """See the module.

    Parameters
    ----------
    names
        Which are used, in the order of the columns of a design.
    """

    def __init__(self, names: tuple[Covariate, ...]) -> None:
        self.names = names
        self._age = (0.0, 0.0)  # mean, standard deviation
        self._men = (0.0, 0.0)

    def statistics(self, cohort: Cohort) -> Arrays:
        """Counts of scans, of those with an age, and of women and men; sums of ages and of their squares; each ()."""
        people = [cohort.scan(index).person for index in range(len(cohort))]
        ages = np.array([person.age for person in people if person.age is not None], np.float64)
        sexes = [person.sex for person in people]
        found = {
            "scans": len(people),
            "aged": len(ages),
            "age": ages.sum(),
            "squares": (ages**2).sum(),
            "women": sexes.count("F"),
            "men": sexes.count("M"),
        }
        return {name: np.array(value, np.float64) for name, value in found.items()}

    def counted(self) -> Mapping[str, float]:
        """A scan counts once, with an age that people reach."""
        return {"scans": 1, "aged": 1, "age": OLDEST, "squares": OLDEST**2, "women": 1, "men": 1}

    def check(self, sums: Arrays) -> None:
        """People have an age and a sex at most, and ages a variance.

        Raises
        ------
        WireError
            If not, or there are no people.
        """
        check_shapes(sums, dict.fromkeys(self.counted(), ()))
        scans, aged, age, squares, women, men = (float(sums[name]) for name in self.counted())
        if min(aged, age, squares, women, men) < 0 or scans <= 0:
            raise WireError("there are no people, or counts below 0")
        most = 1 + SUMS_ROUNDING
        if aged > scans * most or women + men > scans * most:
            raise WireError("more people have an age or a sex than there are")
        if age > aged * OLDEST * most or squares > age * OLDEST * most or age**2 > aged * squares * most:
            raise WireError("ages and their squares contradict each other, or are of nobody")

    def absorb(self, total: Arrays) -> None:
        """Take means and deviations from the sums over all sites."""
        _, aged, age, squares, women, men = (float(total[name]) for name in self.counted())
        mean = age / aged if aged > 0 else 0.0
        variance = squares / aged - mean**2 if aged > 0 else 0.0
        share = men / (women + men) if women + men > 0 else 0.0
        # What rounding alone leaves is no spread.
        self._age = mean, max(variance, 0.0) ** 0.5 if variance > SUMS_ROUNDING * mean**2 else 0.0
        self._men = share, (share * (1 - share)) ** 0.5

    def design(self, person: Person) -> np.ndarray:
        """A person's covariates, standardised, float64 of shape (len(names),)."""
        columns = {"age": self._standard_age(person.age), "sex": self._standard_sex(person.sex)}
        return np.array([columns[name] for name in self.names], np.float64)

    def largest(self) -> np.ndarray:
        """The most that the size of each column can be, of shape (len(names),)."""
        bounds = {"age": REACH, "sex": max(abs(self._standard_sex(sex)) for sex in ("F", "M"))}
        return np.array([bounds[name] for name in self.names], np.float64)

    def _standard_age(self, age: float | None) -> float:
        mean, deviation = self._age
        return 0.0 if age is None or deviation == 0 else float(np.clip((age - mean) / deviation, -REACH, REACH))

    def _standard_sex(self, sex: str | None) -> float:
        share, deviation = self._men
        return 0.0 if sex is None or deviation == 0 else (float(sex == "M") - share) / deviation
