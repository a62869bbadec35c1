"""ComBat by sums is ComBat of everybody's rows in one place, and takes off what scanners do and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from oracles import combat as oracle
from scanned import rows_of, sites_of
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from normfed_common.foundation.errors import DatasetError, WireError
from normfed_common.transforms.combat.effects import Effect, Prior
from normfed_common.transforms.combat.matrices import Combat
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import check_sums, sums_of

KEPT = ("age", "sex")


def learnt(sites: list[Rows], prior: Prior = "parametric", reference: str | None = None) -> Combat:
    return Combat.learn(sites, KEPT, prior, reference, minimum_people=2)


@pytest.mark.parametrize("prior", ["parametric", "non-parametric", "none"])
@pytest.mark.parametrize("reference", [None, "b"])
def test_federated_combat_equals_pooled_combat_with_one_hot_columns(prior: Prior, reference: str | None) -> None:
    """Of unequal sites, one of two people, one with two scanners; in any order of the sites."""
    rows = rows_of()
    expected = oracle.harmonized(rows.values, rows.scanners, rows.covariates, prior, reference)
    for split in (("a", "b", "c", "d"), ("cd", "b", "a"), ("abcd",)):
        found = learnt(sites_of(rows, *split), prior, reference).harmonized(rows)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    if reference is not None:
        np.testing.assert_array_equal(found[rows.scanners == reference], rows.values[rows.scanners == reference])


def test_a_scanner_that_comes_later_is_harmonized_and_changes_nobody_else() -> None:
    rows = rows_of((20, 25, 30))
    early = learnt(sites_of(rows, "a", "b"))
    late = early.with_site(*sites_of(rows, "c"))
    before = rows.where(rows.scanners != "c")
    np.testing.assert_array_equal(late.harmonized(before), early.harmonized(before))
    mine = rows.scanners == "c"
    np.testing.assert_array_equal(early.harmonized(rows)[mine], rows.values[mine])  # is left as it is
    away = late.harmonized(rows)[mine] - early.shared.expected(rows.covariates[mine])
    standard = away / np.sqrt(early.shared.variance)
    assert np.abs(standard.mean(0)).max() < 0.15 < np.abs(rows.values[mine].mean(0)).max()
    assert np.abs(standard.var(0) - 1).max() < 0.5


def test_what_a_site_sends_does_not_say_which_of_two_scanners_is_the_brighter() -> None:
    """Two scanners whose means are exchanged leave the same sums but for the total, so nobody can tell them apart."""
    rows = rows_of((15, 15), seed=1)
    rows = replace(rows, covariates=np.tile(rows.covariates[:15], (2, 1)))
    first = rows.scanners == "a"
    gap = 5.0 * np.where(first, 1.0, -1.0)[:, None]
    one, other = (sums_of(replace(rows, values=rows.values + sign * gap)) for sign in (1, -1))
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=0, atol=1e-9, err_msg=name)
        assert array.shape[-1:] in ((), (2,), (rows.values.shape[1],))


def predicted(values: np.ndarray, rows: Rows) -> tuple[float, float]:
    """Balanced accuracy of the scanner, and R2 of the age, in people whom the predictors did not see."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scanner = cross_val_predict(classifier, values, rows.scanners, cv=folds)
    age = rows.covariates[:, 0]
    by = list(folds.split(values, rows.scanners))
    guessed = cross_val_predict(make_pipeline(StandardScaler(), LinearRegression()), values, age, cv=by)
    return balanced_accuracy_score(rows.scanners, scanner), 1 - ((age - guessed) ** 2).mean() / age.var()


@pytest.mark.parametrize("seed", range(3))
def test_the_scanner_cannot_be_told_any_more_and_age_still_can(seed: int) -> None:
    rows = rows_of((60, 60, 60), features=10, seed=seed)
    before = predicted(rows.values, rows)
    after = predicted(learnt(sites_of(rows, "a", "b", "c")).harmonized(rows), rows)
    assert before[0] > 0.8
    assert after[0] < 1 / 3 + 0.1  # chance
    assert after[1] > before[1] - 0.02
    assert after[1] > 0.5


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_federated_covbat_equals_that_of_rows_in_one_place(share: float) -> None:
    rows = rows_of((30, 17, 12))
    expected = oracle.covbat(rows.values, rows.scanners, rows.covariates, share)
    for split in (("a", "b", "c"), ("bc", "a")):
        made = Combat.learn(sites_of(rows, *split), KEPT, covariance=share)
        np.testing.assert_allclose(made.harmonized(rows), expected, rtol=0, atol=1e-9)


def test_covbat_makes_the_covariance_of_scanners_alike_and_combat_does_not() -> None:
    """Of two scanners, one of which makes all features go together."""
    rows = rows_of((200, 200), seed=2)
    together = np.random.default_rng(1).normal(size=(400, 1)) * (rows.scanners == "a")[:, None]
    rows = replace(rows, values=rows.values + 3 * together)
    apart = {}
    for share in (None, 0.95):
        found = Combat.learn(sites_of(rows, "a", "b"), KEPT, covariance=share)
        a, b = (np.corrcoef(found.residuals(mine).values.T) for mine in sites_of(rows, "a", "b"))
        if share is not None:
            residuals = found.harmonized(rows) - found.shared.expected(rows.covariates)
            a, b = (np.corrcoef(residuals[rows.scanners == one].T) for one in "ab")
        apart[share] = np.abs(a - b).mean()
    assert apart[0.95] < apart[None] / 3


def test_covbat_has_no_reference() -> None:
    with pytest.raises(DatasetError, match="CovBat has no reference"):
        Combat.learn(sites_of(rows_of((20, 20)), "a", "b"), KEPT, reference="a", covariance=0.9)


def test_few_scans_with_lesions_hardly_move_a_robust_effect() -> None:
    rows = rows_of((40, 40, 40))
    shared = learnt(sites_of(rows, "a", "b")).shared
    (own,) = sites_of(rows, "c")
    ill = replace(own, values=own.values + 20 * (np.arange(40) < 4)[:, None])
    clean = Effect.of(own, shared, "none")
    plain, robust = (Effect.of(ill, shared, "none", robust) for robust in (False, True))
    plainly, robustly = (np.abs(found.location - clean.location).mean() for found in (plain, robust))
    assert robustly < plainly / 5
    assert (robust.scale / clean.scale).max() < 2.5 < (plain.scale / clean.scale).min()


def test_features_in_which_nobody_differs_stay_as_they_are() -> None:
    rows = rows_of()
    rows.values[:, 3] = 7.0
    found = learnt(sites_of(rows, "ab", "cd")).harmonized(rows)
    np.testing.assert_array_equal(found[:, 3], 7.0)
    assert np.isfinite(found).all()


def test_who_does_not_tell_their_age_counts_as_of_their_scanners_mean_age() -> None:
    rows = rows_of((20, 20))
    untold = rows.covariates.copy()
    untold[[3, 25], 0] = np.nan
    filled = rows.covariates.copy()
    for person, scanner in ((3, "a"), (25, "b")):
        filled[person, 0] = np.nanmean(untold[rows.scanners == scanner, 0])
    one, other = (replace(rows, covariates=z) for z in (untold, filled))
    np.testing.assert_allclose(learnt([one]).harmonized(one), learnt([other]).harmonized(other), rtol=0, atol=1e-9)


def ages(rows: Rows, values: np.ndarray) -> Rows:
    covariates = rows.covariates.copy()
    covariates[:, 0] = values
    return replace(rows, covariates=covariates)


UNUSABLE: dict[str, tuple[Callable[[Rows], Rows], int, str]] = {
    "one scanner": (lambda rows: sites_of(rows, "a")[0], 2, "one scanner (a): there is nothing to harmonize"),
    "few people": (lambda rows: rows, 10, "the scanner c has 2 people to learn from, and ComBat takes at least 10"),
    "few people scanned often": (
        lambda rows: replace(rows, people=rows.people // 10),
        4,
        "the scanner a has 3 people to learn from",
    ),
    "ages unknown": (
        lambda rows: ages(rows, np.where(rows.scanners == "b", np.nan, 50)),
        2,
        "at the scanner b the age of 100% of the scans is not known",
    ),
    "ages apart": (
        lambda rows: ages(rows, np.where(rows.scanners == "d", 75.0, 30.0) + np.arange(73) % 7),
        2,
        "only 0% of the 24 scans of the scanner d are of ages that people of other scanners have",
    ),
    "sex is the scanner's": (
        lambda rows: replace(rows, covariates=np.c_[rows.covariates[:, 0], rows.scanners == "a"]),
        2,
        "sex differs between scanners, and hardly between people of one scanner",
    ),
    "one covariate twice": (
        lambda rows: replace(rows, covariates=np.c_[rows.covariates[:, 0], 3 + 2 * rows.covariates[:, 0]]),
        2,
        "of age, sex one follows from the others",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_scanners_that_cannot_be_told_from_people_are_refused_in_words(case: str) -> None:
    change, minimum, said = UNUSABLE[case]
    rows = change(rows_of())
    sites = [mine for mine in sites_of(rows, "a", "b", "cd") if len(mine.values)]
    with pytest.raises(DatasetError, match=re.escape(said)):
        Combat.learn(sites, KEPT, minimum_people=minimum)


def test_a_reference_that_nobody_has_is_refused() -> None:
    with pytest.raises(DatasetError, match="no site has the scanner that the study names as `reference`"):
        learnt(sites_of(rows_of(), "ab", "cd"), reference="z")


@pytest.mark.parametrize(
    ("name", "factor"), [("values", 1e9), ("within_squares", -1), ("within_products", 100), ("within_covariates", 1e9)]
)
def test_sums_that_scans_cannot_have_are_refused(name: str, factor: float) -> None:
    sums = sums_of(rows_of())
    check_sums(sums, 2, False, -100, 100)
    with pytest.raises(WireError):
        check_sums({**sums, name: sums[name] * factor}, 2, False, -100, 100)
