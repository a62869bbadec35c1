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
from normfed_common.statistics.learner import CohortStatistics, nearest
from normfed_common.statistics.names import PHASE
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
        ("raw-T1w", 0, 3, "below 0.2"),
        ("raw-T1w", 31, 34, "100 to 250"),
        ("raw-T1w", 0, 70, "any number"),
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
        exact = bounded.scaled(rows)
        errors += [(total[t.name] - 400 * exact[t.name]) * bounded.unit for t in tables(STUDY)]
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


def test_the_grid_of_raw_intensities_is_public_and_of_steps_that_are_alike() -> None:
    edges = np.array(by_name(STUDY)["raw-T1w"].edges[1:])
    assert edges[10] == 10 * edges[0]
    ratios = edges[1:] / edges[:-1]
    assert (ratios > 1.23).all()
    assert (ratios < 1.29).all()


def test_with_noise_shares_of_many_bins_are_told_in_runs_that_hold_every_bin_once() -> None:
    for table in tables(STUDY):
        bins = [place for first, last in table.noisy_runs() for place in range(first, last + 1)]
        assert bins == list(range(len(table.bins))), table.name
    assert len(by_name(STUDY)["raw-T1w"].noisy_runs()) == 15


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_counts_are_nearer_than_any_others_that_people_can_have(seed: int) -> None:
    """Beside random ones, and the optimum of quadratic programming by bisection of its multiplier."""
    rng = np.random.default_rng(seed)
    noisy, most = rng.normal(3, 6, 12), 20.0
    found = nearest(noisy, most)
    assert found.min() >= 0
    assert found.sum() <= most + 1e-9
    others = rng.dirichlet(np.ones(12), 500) * most * rng.uniform(0, 1, (500, 1))
    assert ((others - noisy) ** 2).sum(1).min() >= ((found - noisy) ** 2).sum()
    low, high = 0.0, float(noisy.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(noisy - middle, 0).sum() > most else (low, middle)
    np.testing.assert_allclose(found, np.maximum(noisy - high, 0), atol=1e-6)


def test_the_nearest_counts_are_nearer_to_the_truth_than_negative_ones_cut_off_and_scaled() -> None:
    truth, rng = np.array([30.0, 15.0, 5.0] + [0.0] * 27), np.random.default_rng(1)
    ours, cut = [], []
    for _ in range(200):
        noisy = truth + rng.normal(0, 3, truth.size)
        positive = np.maximum(noisy, 0)
        cut.append(np.abs(positive * min(1, 50 / positive.sum()) - truth).sum())
        ours.append(np.abs(nearest(noisy, 50) - truth).sum())
    assert np.mean(ours) < 0.7 * np.mean(cut)
