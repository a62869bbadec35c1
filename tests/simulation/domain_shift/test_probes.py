"""How well scanners are told and age is read: made-up people of whom the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import RidgeCV
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from normfed_simulation.domain_shift import probes
from normfed_simulation.domain_shift.probes import (
    ALPHAS,
    _balanced,
    age_fits,
    age_slopes,
    told_by_features,
    told_by_images,
    usable,
)

SCANNERS = [name for name in "abc" for _ in range(12)]
RNG = np.random.default_rng(5)
PEOPLE = RNG.normal(size=(36, 15))
NUMBER = np.repeat(np.arange(3), 12)
SHIFTED = PEOPLE * np.array([1.0, 2.0, 0.5])[NUMBER][:, None] + 8.0 * NUMBER[:, None]
AGES = RNG.uniform(20, 80, 36)


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take nearly all the time."""
    monkeypatch.setattr(probes, "PERMUTATIONS", 9)


def by_scanner(x: np.ndarray) -> np.ndarray:
    """Every scanner's people with a mean of 0 and a deviation of 1: what location-scale harmonization comes to."""
    found = x.copy()
    for number in range(3):
        own = x[number == NUMBER]
        found[number == NUMBER] = (own - own.mean(0)) / own.std(0)
    return found


@pytest.mark.parametrize("told_by", [told_by_features, told_by_images])
def test_location_and_scale_tell_every_scanner_and_once_they_are_gone_none(told_by: object) -> None:
    assert callable(told_by)
    before, after = told_by(SHIFTED, SCANNERS, 1), told_by(by_scanner(SHIFTED), SCANNERS, 1)
    assert (before.accuracy, before.ci95, before.p_value) == (1.0, (1.0, 1.0), 0.1)
    assert (before.chance, before.scanners, before.people) == (pytest.approx(1 / 3), 3, 36)
    assert after.accuracy < 0.5
    assert after.p_value > 0.05


def test_images_are_told_as_their_own_pixels_are_however_many() -> None:
    """Turned into a space of 2,000 pixels nothing changes: components know distances alone."""
    turned, _ = np.linalg.qr(RNG.normal(size=(2000, 15)))
    weak = PEOPLE + 0.8 * NUMBER[:, None]
    assert told_by_images(weak @ turned.T, SCANNERS, 3) == told_by_images(weak, SCANNERS, 3)


def test_balanced_accuracy_is_scikit_learns() -> None:
    y = np.repeat([0, 1, 2], [3, 8, 20])
    guess = RNG.integers(3, size=31)
    assert _balanced(guess == y, y) == pytest.approx(balanced_accuracy_score(y, guess))


def test_scanners_with_too_few_people_are_left_out_by_name_and_of_one_scanner_nothing_is_told() -> None:
    kept, why = usable([*"aaaa", *"bbb", "c"])
    assert kept.tolist() == [True] * 7 + [False]
    assert "c 1" in why
    kept, why = usable([*"aaaa", "b", "c"])
    assert not kept.any()
    assert "a 4, b 1, c 1" in why


def test_age_is_read_as_scikit_learn_reads_it_also_of_scanners_that_were_not_there() -> None:
    x = PEOPLE.copy()
    x[:, 0] = AGES / 10 + RNG.normal(0, 0.3, 36)
    mixed, across = age_fits(x, list(AGES), SCANNERS, 1)
    assert mixed.r2 is not None
    assert mixed.r2 > 0.8
    model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    oracle = r2_score(AGES, cross_val_predict(model, x, AGES, groups=NUMBER, cv=LeaveOneGroupOut()))
    assert across.r2 == pytest.approx(oracle)
    assert across.ci95 is not None
    assert across.ci95[0] is not None
    assert across.ci95[0] < oracle


def test_a_scanners_shift_spoils_the_age_of_other_scanners_and_its_harmonization_brings_it_back() -> None:
    x = PEOPLE.copy()
    x[:, :5] += AGES[:, None] / 5
    spoilt = x.copy()
    spoilt[:, :5] += 30.0 * NUMBER[:, None]
    alike = by_scanner(spoilt)
    (_, before), (_, after) = (age_fits(found, list(AGES), SCANNERS, 1) for found in (spoilt, alike))
    assert before.r2 is not None
    assert after.r2 is not None
    assert after.r2 > 0.5 > before.r2


def test_slopes_are_those_of_ordinary_least_squares_with_a_mean_for_each_scanner() -> None:
    volumes = np.stack([600 - 2 * AGES, 500 - AGES, 300 + 3 * AGES], axis=1) + 40 * NUMBER[:, None]
    volumes += RNG.normal(0, 10, volumes.shape)
    ages: list[float | None] = [*AGES, None]
    found, why = age_slopes(np.vstack([volumes, [[0, 0, 0]]]), ages, [*SCANNERS, "d"])
    assert not why
    design = np.column_stack([AGES / 10, *(number == NUMBER for number in range(3))])
    for slope, volume in zip(found, volumes.T, strict=True):
        oracle = sm.OLS(volume, design.astype(float)).fit()
        assert slope.ml_per_decade == pytest.approx(oracle.params[0])
        assert slope.se == pytest.approx(oracle.bse[0])
        assert slope.people == 36


def test_without_ages_or_with_one_age_nothing_is_said_of_age_but_why() -> None:
    for ages, why in (([None] * 36, "0 healthy people have an age"), ([50.0] * 36, "the same age")):
        for fit in age_fits(PEOPLE, ages, SCANNERS, 1):
            assert fit.r2 is None
            assert why in fit.why
        slopes, said = age_slopes(np.ones((36, 3)), ages, SCANNERS)
        assert not slopes
        assert "ages" in said
    one = age_fits(PEOPLE, list(AGES), ["a"] * 36, 1)
    assert one[0].r2 is not None
    assert "one scanner" in one[1].why
