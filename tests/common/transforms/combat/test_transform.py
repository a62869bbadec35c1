"""ComBat of scans: the scanner's shift is taken off at every place, the scan's detail and its biology stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learning import sum_up
from scipy.ndimage import gaussian_filter
from shifted import combat, hospitals
from synthetic import People, scan, setting, split

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import SiteCode, SiteError, WireError
from normfed_common.learning.cohort import Scan, Unlabelled
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.combat.features import Grid
from normfed_common.transforms.combat.methods import NO_REFERENCE
from normfed_common.transforms.combat.transform import ALONE

RNG = np.random.default_rng(0)


def gap(scans: list[Scan], first: int) -> float:
    """How far the mean scans of two scanners are from each other, over the places that all have."""
    there = np.all([one.mask for one in scans], axis=0)
    means = [np.mean([one.images[:, there] for one in part], axis=0) for part in (scans[:first], scans[first:])]
    noise = 1 / 12 * (1 / first + 1 / (len(scans) - first))  # of uniform intensities
    return float(((means[0] - means[1]) ** 2).mean() - noise)


@pytest.mark.parametrize("values", [{}, {"features": "regions"}, {"prior": "none", "covariates": ["age"]}], ids=str)
def test_what_scanners_add_is_taken_off_and_the_detail_of_a_scan_is_kept(values: dict[str, Any]) -> None:
    people, transform = hospitals(a=12, b=12), combat(**values)
    sum_up(transform, people)
    transform.personalise(people, RNG)
    found = [transform.transform(one) for one in people.scans]
    assert gap(found, 12) < 0.15 * gap(people.scans, 12)
    for before, after in zip(people.scans, found, strict=True):
        change = np.where(before.mask, after.images - before.images, 0)
        rough = change - gaussian_filter(change, (0, 1, 1, 1)) / np.maximum(
            gaussian_filter(before.mask.astype(float), 1), 1e-6
        )
        assert np.abs(rough[:, before.mask]).mean() < 0.1 * np.abs(change[:, before.mask]).mean()


def test_age_is_kept() -> None:
    """The slope of the mean intensity over age, which is .01 a year, is not taken for the scanner's, nor away."""
    people, transform = hospitals(a=15, b=15), combat()
    ages = np.array([one.person.age for one in people.scans])
    sum_up(transform, people)
    transform.personalise(people, RNG)
    means = np.array([transform.transform(one).images[0][one.mask].mean() for one in people.scans])
    slope = np.polyfit(ages, means, 1)[0]
    assert slope == pytest.approx(0.01, rel=0.15)


def test_sites_in_any_order_learn_what_all_scans_in_one_place_would() -> None:
    people = hospitals(a=7, b=5, c=6)
    pooled, federated = combat(reference="b"), combat(reference="b")
    sum_up(pooled, people)
    sites = split(people, 7, 11)
    for phase in ("ages", "moments"):
        federated.absorb(phase, add([federated.statistics(phase, site, RNG) for site in reversed(sites)]))
    pooled.personalise(people, RNG)
    federated.personalise(sites[1], RNG)
    assert set(federated.scanners) == {"b", "c"}
    for one in sites[1].scans:
        found, expected = federated.transform(one).images, pooled.transform(one).images
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        assert np.array_equal(expected, one.images) == (one.person.scanner == "b")


def test_a_scanner_that_nobody_learnt_from_is_left_alone_until_its_site_adapts() -> None:
    people = hospitals(a=8, b=8, c=8)
    first, unseen = split(people, 16, 8)
    study = {"name": "combat", "minimum_people": 2, "places_mm": 8}
    model = assemble([validate_learner(TRANSFORMS, study, "test")], {"name": "intensity"}, setting())
    (transform,) = model.transforms  # type: ignore[attr-defined]
    sum_up(transform, first)
    one = unseen.scan(0)
    np.testing.assert_array_equal(transform.transform(one).images, one.images)
    model.personalise(first, RNG)
    np.testing.assert_array_equal(transform.transform(one).images, one.images)
    model.adapt(Unlabelled(unseen))  # type: ignore[attr-defined]
    assert set(transform.scanners) == {"c"}
    found = [transform.transform(other) for other in unseen.scans]
    target = [transform.transform(other) for other in first.scans[:8]]  # of a scanner that is not this site's
    assert gap(found + target, 8) != gap(unseen.scans + target, 8)
    nameless = replace(one, person=replace(one.person, scanner=""))  # a file by itself
    np.testing.assert_array_equal(transform.transform(nameless).images, found[0].images)


def test_with_one_scanner_in_all_scans_stay_as_they_are_and_it_is_said() -> None:
    people, transform = hospitals(a=6), combat()
    sum_up(transform, people)
    transform.personalise(people, RNG)
    np.testing.assert_array_equal(transform.transform(people.scan(0)).images, people.scan(0).images)
    assert transform.notes(6) == (ALONE,)
    assert combat().notes(6) == ()


def test_without_the_reference_an_average_scanner_stands_for_it_and_it_is_said() -> None:
    """As in a federation without the reference's site: at that site, too, which is a scanner like any."""
    people = hospitals(a=8, b=8, c=8)
    (others, own), (without, plain) = split(people, 16, 8), (combat(reference="c"), combat())
    for transform in (without, plain):
        sum_up(transform, others)
        transform.personalise(own, RNG)
    for one in own.scans:
        np.testing.assert_array_equal(without.transform(one).images, plain.transform(one).images)
    assert without.notes(16) == (NO_REFERENCE,)
    assert plain.notes(16) == ()


def sums(people: People, **values: Any) -> Arrays:
    transform = combat(**values)
    for phase in transform.phases()[:-1]:
        transform.absorb(phase.name, transform.statistics(phase.name, people, RNG))
    return transform.statistics("moments", people, RNG)


def test_sums_are_the_same_whatever_a_site_calls_its_scanners() -> None:
    people = hospitals(a=5, b=5)
    expected = sums(people)
    names = {"a": "north/Siemens of Dr. No", "b": "north/3T"}
    people.scans = [replace(one, person=replace(one.person, scanner=names[one.person.scanner])) for one in people.scans]
    found = sums(people)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-9)


def test_a_modality_that_nobody_has_and_one_that_few_have_at_a_scanner() -> None:
    people = hospitals(a=6, b=6)
    without = [replace(one, present=np.array([True, False])) for one in people.scans]
    people.scans = without
    transform = combat()
    sum_up(transform, people)
    transform.personalise(people, RNG)
    found = transform.transform(people.scan(0)).images
    assert not np.array_equal(found[0], people.scan(0).images[0])
    np.testing.assert_array_equal(found[1], people.scan(0).images[1])
    people.scans[0] = replace(people.scans[0], present=np.ones(2, bool))
    with pytest.raises(SiteError) as refused:
        sums(people)
    assert refused.value.code == SiteCode.SCANNER_TOO_SMALL
    assert "the scanner a has 1 people" in refused.value.detail


def test_a_scanner_whose_ages_nobody_else_has_is_refused_by_its_site_and_floors_hide_few_people() -> None:
    people = hospitals(a=6, b=6)
    for number, age in enumerate([75.0, 76, 77, 78, 79, 80, 29, 20, 20, 20, 20, 20]):
        one = people.scans[number]
        people.scans[number] = replace(one, person=replace(one.person, age=age))
    transform = combat()
    transform.absorb("ages", transform.statistics("ages", people, RNG))
    assert transform.everybody[[2, 7, 8]].tolist() == [6, 5, 1]
    with pytest.raises(SiteError) as refused:
        transform.statistics("moments", people, RNG)
    assert refused.value.code == SiteCode.AGES_APART
    assert refused.value.code.of_the_study
    assert sums(people, covariates=["sex"])["scanners"] == 2
    hospital = combat(replace(setting(), told_together=2))
    assert hospital.statistics("ages", people, RNG)["decades"][[2, 7, 8]].tolist() == [6, 5, 0]


def test_ages_are_counted_of_enough_people_of_a_site_however_many_scans_each_has_at_whichever_scanner() -> None:
    people = hospitals(a=6, b=6)
    for number, age in enumerate([20.0] * 5 + [85] + [20] * 3 + [62, 62, 85]):  # at 62 one person, twice
        one = people.scans[number]
        whose = replace(one.person, age=age, index=9 if age == 62 else number)
        people.scans[number] = replace(one, person=whose)
    hospital = combat(replace(setting(), told_together=2))
    assert hospital.statistics("ages", people, RNG)["decades"][[2, 6, 8]].tolist() == [8, 0, 2]


def test_at_a_hospital_no_refusal_is_about_fewer_people_than_its_minimum_whatever_the_study_says() -> None:
    """A server may make up what ages everybody has, and ask about a scanner with one person: yes or no is their age."""
    people = hospitals(a=6, b=1)
    for decade in range(13):
        hospital = combat(replace(setting(), told_together=2), minimum_people=1)
        hospital.absorb("ages", {"decades": np.eye(13)[decade] * 9})
        with pytest.raises(SiteError) as refused:
            hospital.statistics("moments", people, RNG)
        assert refused.value.code == SiteCode.SCANNER_TOO_SMALL


def test_no_made_up_ages_of_everybody_tell_by_a_refusal_how_old_one_person_is() -> None:
    refusals = []
    for age in (30.0, 95.0):
        people = hospitals(a=7)
        for number, own in enumerate([20.0, 20, 20, age, 80, 80, 80]):
            one = people.scans[number]
            people.scans[number] = replace(one, person=replace(one.person, age=own))
        for decade in range(13):
            hospital = combat(replace(setting(), told_together=4))
            hospital.absorb("ages", {"decades": np.eye(13)[decade] * 9})
            try:
                hospital.statistics("moments", people, RNG)
            except SiteError as error:
                refusals.append((age, decade, error.code))
    assert refusals == []


def test_a_server_without_a_grid_takes_the_sums_and_refuses_others() -> None:
    people = hospitals(a=6, b=6)
    server = combat(replace(setting(), shape=(1, 1, 1), open_anatomy=None))
    server.absorb("ages", server.statistics("ages", people, RNG))
    made = sums(people)
    server.absorb("moments", made)
    skew = np.array([[0.0, 1.0], [-1.0, 0.0]])
    for wrong in (
        {**made, "scans": 0 * made["scans"]},
        {**made, "values": made["values"][..., :-1]},
        {**made, "values": made["values"] + 1e9},
        {**made, "within_squares": made["within_squares"] + 1e15},
        {**made, "covariate_squares": made["covariate_squares"] + 1e9},
        {**made, "covariates": made["covariates"] * 1e3},
        {**made, "within_covariates": made["within_covariates"] + skew},
        {**made, "within_covariates": made["within_covariates"] + 1e3 * np.abs(skew)},
        {**made, "scanners": made["scanners"] + 1e9},
    ):
        with pytest.raises(WireError):
            server.check("moments", wrong)


@pytest.mark.parametrize("kind", ["places", "regions"])
def test_a_constant_scan_has_that_constant_everywhere_and_so_has_a_constant_correction(kind: Any) -> None:
    grid = Grid(kind, 8.0, 6.0, setting())
    one = scan(np.random.default_rng(0))
    one.images[:] = 3.0 * one.mask
    np.testing.assert_allclose(grid.of(one, 0, normal=True), 3.0, rtol=1e-9)
    field = grid.field(np.where(grid.counts, 2.0, np.nan))
    np.testing.assert_allclose(field[one.mask], 2.0, rtol=1e-5)
