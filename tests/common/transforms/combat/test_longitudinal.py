"""Longitudinal ComBat: a mixed model learnt by sums is that of all rows in one place, by dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import combat as oracle
from scipy.optimize import minimize_scalar

from normfed_common.foundation.errors import DatasetError, WireError
from normfed_common.transforms.combat.longitudinal import LongitudinalCombat
from normfed_common.transforms.combat.matrices import Combat
from normfed_common.transforms.combat.mixed import best_ratios, grid_sums, groups_alike, told_alike
from normfed_common.transforms.combat.rows import Rows

KEPT = ("age", "sex")


def visited(people: int = 45, seed: int = 0) -> Rows:
    """People of three sites, one of which has two scanners and sees the same people at both; one to four visits."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), rng.integers(1, 5, people))
    n, features = len(person), 6
    scanner = (np.arange(people) % 3)[person]
    scanner[(scanner == 0) & (rng.random(n) < 0.5)] = 3
    age, sex = rng.uniform(20, 80, people)[person] + rng.uniform(0, 4, n), rng.integers(0, 2, people)[person]
    own = (rng.normal(size=(people, features)) * np.linspace(0.3, 2, features))[person]
    values = rng.normal(size=(n, features)) * rng.uniform(0.6, 1.5, (4, features))[scanner] + own
    values += rng.normal(0, 1, (4, features))[scanner] + np.outer(age, rng.normal(size=features)) * 0.03
    return Rows.of(values, ["abcd"[number] for number in scanner], np.stack([age, sex], 1), list(person))


def learnt(sites: list[Rows]) -> LongitudinalCombat:
    return LongitudinalCombat.learn(sites, KEPT, "none", minimum_people=2)


def test_the_federated_mixed_model_is_that_of_all_rows_in_one_place() -> None:
    rows = visited()
    sites = [rows.where(np.isin(rows.scanners, site)) for site in (["c"], ["a", "d"], ["b"])]
    found = learnt(sites)
    np.testing.assert_allclose(found.ratios, learnt([rows]).ratios, rtol=1e-9)
    expected = oracle.longitudinal(rows.values, rows.scanners, rows.covariates, rows.people, found.ratios)
    np.testing.assert_allclose(found.harmonized(rows), expected, rtol=0, atol=1e-8)


def test_the_variance_of_people_is_that_of_the_greatest_restricted_likelihood() -> None:
    rows = visited()
    onehot = (rows.scanners[:, None] == np.unique(rows.scanners)).astype(float)
    design = np.hstack([onehot, rows.covariates])
    found = learnt([rows]).ratios
    for j in (1, 3, 5):

        def deviance(log: float, x: np.ndarray = rows.values[:, j]) -> float:
            return oracle.restricted_likelihood(x, design, rows.people, 10**log)

        best = minimize_scalar(deviance, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6})
        assert found[j] == pytest.approx(10**best.x, rel=0.01)


def test_what_is_a_person_s_own_is_kept_better_than_without_an_intercept_of_theirs() -> None:
    """Where people differ far more than scans of one do, the spread within people is what a scanner scales."""
    rows = visited(seed=3)
    people = replace(rows, values=rows.values + 30 * np.random.default_rng(0).normal(size=(45, 6))[rows.people])

    def within(values: np.ndarray) -> float:
        """Of scans of one person at one scanner, how differently scanners spread them: largest over smallest."""
        by_scanner = []
        for scanner in np.unique(rows.scanners):
            pairs = [
                values[(rows.people == person) & (rows.scanners == scanner)]
                for person in np.unique(rows.people[rows.scanners == scanner])
            ]
            spread = [mine - mine.mean(0) for mine in pairs if len(mine) > 1]
            free = sum(len(mine) - 1 for mine in spread)
            by_scanner.append(np.sqrt((np.concatenate(spread) ** 2).sum(0) / free))
        return float((np.max(by_scanner, 0) / np.min(by_scanner, 0)).mean())

    plain = Combat.learn([people], KEPT, "none", minimum_people=2).harmonized(people)
    assert within(learnt([people]).harmonized(people)) < within(plain)


def test_people_who_were_scanned_once_are_refused() -> None:
    rows = visited()
    once = replace(rows, people=np.arange(len(rows.people)))
    with pytest.raises(DatasetError, match="Nobody has two scans"):
        learnt([once])


def test_only_people_whom_enough_others_are_scanned_like_count() -> None:
    """Three have two scans on a, one has three, and one of the two with a scan on b has another on a."""
    people = [0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 5, 5, 6, 7, 8]
    scanners = "aaaaaaaaa" + "bba" + "aaa"
    rows = Rows.of(np.arange(15.0)[:, None], list(scanners), None, people)
    everybody = groups_alike(rows, 1)
    assert sorted(map(len, everybody)) == [1, 2, 3, 3, 6]
    enough = groups_alike(rows, 2)
    assert sorted(enough) == [[0, 1, 2, 3, 4, 5, 6, 7], [9, 10], [12, 13, 14]]
    assert sorted(groups_alike(rows, 3)) == [[0, 1, 2, 3, 4, 5, 6, 7], [12, 13, 14]]
    np.testing.assert_array_equal(told_alike(rows, 5).values[:, 0], [0, 2, 4, 6, 12, 13, 14])
    assert not len(told_alike(rows, 9).values)


def test_a_covariate_that_follows_from_another_is_refused_and_one_in_which_nobody_differs_has_no_slope() -> None:
    rows = visited()
    twice = replace(rows, covariates=np.c_[rows.covariates[:, 0], 2 * rows.covariates[:, 0]])
    with pytest.raises(WireError, match="one follows from the others"):
        best_ratios(grid_sums(twice))
    same = replace(rows, covariates=np.c_[rows.covariates[:, 0], np.ones(len(rows.people))])
    found = learnt([same])
    np.testing.assert_allclose(found.shared.slopes[1], 0, atol=1e-12)
