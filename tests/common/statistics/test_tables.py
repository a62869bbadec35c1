"""The tables of statistics: bins, words, and what of sums of them is possible."""

from __future__ import annotations

import numpy as np
import pytest
from jobs import STUDY

from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import PEOPLE
from normfed_common.learning.setting import Setting
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import noised_total, shortened
from normfed_common.statistics.learner import PHASE, CohortStatistics
from normfed_common.statistics.tables import by_name, tables


@pytest.mark.parametrize(("age", "place"), [(0.0, 0), (9.99, 0), (10.0, 1), (89.5, 8), (90.0, 9), (119.0, 9)])
def test_an_age_is_in_its_decade(age: float, place: int) -> None:
    assert by_name(STUDY)["age-F"].bin_of(age) == place


@pytest.mark.parametrize(
    ("table", "first", "last", "words"),
    [
        ("age-F", 4, 4, "40 to 50 years"),
        ("age-F", 4, 6, "40 to 70 years"),
        ("age-F", 8, 9, "80 or more years"),
        ("age-F", 8, 10, "80 or more years or not known"),
        ("group", 0, 1, "healthy or patients"),
        ("lesions", 0, 1, "no lesion mask or no lesion"),
    ],
)
def test_a_run_of_bins_is_called_by_its_ends(table: str, first: int, last: int, words: str) -> None:
    assert by_name(STUDY)[table].words(first, last) == words


def sums(learner: CohortStatistics, people: float = 5.0) -> dict[str, np.ndarray]:
    found = {table.name: np.zeros((len(table.bins),) * 2) for table in learner.tables}
    return found | {PEOPLE: np.asarray(people)}


@pytest.mark.parametrize("wrong", ["backwards", "negative", "too many", "nobody", "another shape"])
def test_tables_that_no_people_can_have_are_refused(wrong: str) -> None:
    learner = CohortStatistics(STUDY, Setting.of(STUDY))
    learner.check(PHASE, sums(learner))
    found = sums(learner, 0.0 if wrong == "nobody" else 5.0)
    if wrong == "backwards":
        found["group"][1, 0] = 2
    elif wrong == "negative":
        found["group"][0, 0] = -1
    elif wrong == "too many":
        found["group"][0, 0] = 6
    elif wrong == "another shape":
        found["group"] = np.zeros((3, 3))
    with pytest.raises(WireError):
        learner.check(PHASE, found)


def test_a_person_s_part_is_never_longer_than_1_so_that_it_is_never_shortened() -> None:
    learner = CohortStatistics(STUDY, Setting.of(STUDY))
    bounded = learner.bounded(PHASE)
    rows = {table.name: np.eye(len(table.bins))[0] for table in learner.tables}
    part = bounded.scaled(rows)
    assert sum(float((array**2).sum()) for array in part.values()) == pytest.approx(1)
    for name, array in shortened(part).items():
        np.testing.assert_allclose(array, part[name])


def test_noise_in_the_counts_is_that_of_the_gaussian_mechanism() -> None:
    """Its standard deviation is the noise multiplier times the root of how many tables there are."""
    learner = CohortStatistics(STUDY, Setting.of(STUDY))
    bounded, multiplier = learner.bounded(PHASE), 0.7
    rows = {table.name: np.eye(len(table.bins))[1] for table in learner.tables}
    makers = [lambda: bounded.scaled(rows)] * 400
    errors = []
    for key in range(12):
        total = noised_total(bounded, makers, SecretNoise(bytes([key]) * 32), multiplier)
        errors += [(total[t.name] * bounded.unit - 400 * rows[t.name]) for t in tables(STUDY)]
    found = np.concatenate(errors)
    expected = multiplier * np.sqrt(len(learner.tables))
    assert found.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * found.size))
    assert abs(found.mean()) < 4 * expected / np.sqrt(found.size)


def test_repaired_counts_are_of_nobody_twice_and_of_no_fewer_than_nobody() -> None:
    learner = CohortStatistics(STUDY, Setting.of(STUDY))
    rng = np.random.default_rng(0)
    total = {name: rng.normal(2, 5, shape) for name, shape in learner.bounded(PHASE).shapes().items()}
    found = learner.bounded(PHASE).repaired(total | {PEOPLE: np.asarray(30.0)}, 5.0)
    learner.check(PHASE, found)
