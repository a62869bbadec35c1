"""Age and sex from sums, against the same worked out of everybody's in one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import People, split

from normfed_common.foundation.arrays import add
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Person, Sex
from normfed_common.learning.covariates import Covariates
from normfed_common.models.atlas import AtlasConfig
from normfed_common.models.location import LocationConfig
from normfed_common.study.base import Frozen

AGES = (25.0, 71.5, 64.0, None, 38.0, 90.0)
SEXES: tuple[Sex | None, ...] = ("F", "M", "M", "F", None, "M")
Ages = tuple[float | None, ...]


def people(ages: Ages = AGES, sexes: tuple[Sex | None, ...] = SEXES) -> People:
    found = People(len(ages))
    named = zip(found.scans, ages, sexes, strict=True)
    found.scans = [replace(one, person=Person(n, age, sex)) for n, (one, age, sex) in enumerate(named)]
    return found


def learnt(cohort: People) -> Covariates:
    made = Covariates(("age", "sex"))
    sums = made.statistics(cohort)
    made.check(sums)
    made.absorb(sums)
    return made


def test_ages_and_sexes_are_standardised_over_those_who_say_them() -> None:
    made = learnt(people())
    ages = np.array([age for age in AGES if age is not None])
    male = np.array([sex == "M" for sex in SEXES if sex], float)
    expected = [(64 - ages.mean()) / ages.std(), (1 - male.mean()) / male.std()]
    np.testing.assert_allclose(made.design(Person(-1, 64.0, "M")), expected)
    assert made.design(Person(-1, 64.0, "F"))[1] == pytest.approx(-male.mean() / male.std())


def test_a_federation_standardises_as_everybody_in_one_place() -> None:
    whole, parts = Covariates(("age", "sex")), split(people(), 1, 3, 2)
    whole.absorb(add(whole.statistics(part) for part in parts))
    for person in (Person(-1, 30.0, "F"), Person(-1, 80.0, None)):
        np.testing.assert_allclose(whole.design(person), learnt(people()).design(person), rtol=1e-12)


def test_whoever_does_not_say_is_the_mean() -> None:
    np.testing.assert_array_equal(learnt(people()).design(Person(-1)), [0, 0])


def test_nobody_is_older_or_younger_than_those_trained_on_support() -> None:
    made = learnt(people())
    ages = np.array([age for age in AGES if age is not None])
    for age in (ages.mean() + 2 * ages.std(), 99.0, 1e6):
        assert made.design(Person(-1, age, None))[0] == pytest.approx(min(2, (age - ages.mean()) / ages.std()))
    assert made.design(Person(-1, 120.0, None))[0] == 2
    assert made.design(Person(-1, 0.0, None))[0] == -2


@pytest.mark.parametrize(
    ("ages", "sexes"), [((50.1,) * 3, ("F",) * 3), ((None,) * 3, (None,) * 3), ((50.1, None, None), ("M", None, None))]
)
def test_people_who_are_all_alike_support_no_difference(ages: Ages, sexes: tuple[Sex | None, ...]) -> None:
    made = learnt(people(ages, sexes))
    for person in (Person(-1, 20.0, "F"), Person(-1, 90.0, "M"), Person(-1)):
        np.testing.assert_array_equal(made.design(person), [0, 0])


def test_no_design_is_larger_than_is_said() -> None:
    made = learnt(people())
    designs = [made.design(Person(-1, age, sex)) for age in (0.0, 50.0, 130.0) for sex in ("F", "M", None)]  # type: ignore[arg-type]
    np.testing.assert_allclose(np.abs(designs).max(0), made.largest())


@pytest.mark.parametrize(
    "wrong",
    [
        {"scans": 0.0},
        {"aged": 7.0},
        {"men": 5.0},
        {"women": -1.0},
        {"age": 700.0},
        {"squares": 1.0},
        {"squares": 1e9},
        {"aged": 0.0},
        {"age": 0.0},
    ],
    ids=str,
)
def test_ages_and_sexes_that_nobody_can_have_are_refused(wrong: dict[str, float]) -> None:
    made = Covariates(("age",))
    sums = made.statistics(people())
    with pytest.raises(WireError):
        made.check({**sums, **{name: np.array(value) for name, value in wrong.items()}})


@pytest.mark.parametrize("kind", [AtlasConfig, LocationConfig])
def test_a_covariate_that_is_named_twice_is_refused(kind: type[Frozen]) -> None:
    with pytest.raises(ValueError, match="age is named twice"):
        kind(regress=("age", "sex", "age"))
    assert kind(regress=("sex", "age")).model_dump()["regress"] == ("sex", "age")
