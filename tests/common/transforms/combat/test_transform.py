"""ComBat of scans: the scanner's shift is taken off at every place, the scan's detail and its biology stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learning import sum_up
from scipy.ndimage import gaussian_filter
from synthetic import People, scan, setting, split

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import SiteCode, SiteError, StudyError, WireError
from normfed_common.learning.cohort import Person, Scan, Unlabelled
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.combat.config import CombatConfig
from normfed_common.transforms.combat.covariance import Components, check_covariance, covariance_sums
from normfed_common.transforms.combat.features import Grid
from normfed_common.transforms.combat.longitudinal import LongitudinalCombat
from normfed_common.transforms.combat.matrices import Combat
from normfed_common.transforms.combat.methods import NO_REFERENCE, ONCE
from normfed_common.transforms.combat.people import rows_of
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.transform import ALONE, CombatTransform

RNG = np.random.default_rng(0)
BARE = replace(setting(), shape=(1, 1, 1), open_anatomy=None, value_range=(-9.0, 9.0))


def combat(where: Setting | None = None, **values: Any) -> CombatTransform:
    raw = {"minimum_people": 2, "places_mm": 8, "smoothing_mm": 4, **values}
    return CombatTransform(
        CombatConfig.model_validate(raw, strict=False), where or replace(setting(), value_range=(-9.0, 9.0))
    )


def shifts(scanner: str) -> np.ndarray:
    """What a scanner adds, (C, X, Y, Z): other at the front than at the back, and little of it fine."""
    rng = np.random.default_rng(ord(scanner[-1]))
    noise = gaussian_filter(rng.standard_normal((2, 26, 28, 6)), (0, 6, 6, 6))
    return rng.normal(0, 0.3, (2, 1, 1, 1)) + 0.3 * noise / noise.std()


def hospitals(**scanners: int) -> People:
    """People of so many of each scanner, whose scans are noise plus an effect of age plus the scanner's."""
    people = People(sum(scanners.values()))
    names = [name for name, count in scanners.items() for _ in range(count)]
    rng = np.random.default_rng(5)
    for number, (one, name) in enumerate(zip(people.scans, names, strict=True)):
        age = float(rng.uniform(20, 80))
        images = np.where(one.mask, one.images + 0.01 * (age - 50) + shifts(name), 0).astype(np.float32)
        whose = Person(number, age, "F" if rng.random() < 0.5 else "M", name)
        people.scans[number] = replace(one, images=images, person=whose)
    return people


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


def site_features(transform: CombatTransform, people: People, channel: int) -> Rows:
    """The features that count."""
    values = np.array([transform.grid.of(one, channel, normal=True) for one in people.scans])[:, transform.grid.counts]
    rows = rows_of([one.person for one in people.scans], transform.config.covariates)
    return replace(rows, values=values)


def federated(transform: CombatTransform, sites: list[People]) -> CombatTransform:
    for phase in transform.phases():
        transform.absorb(phase.name, add([transform.statistics(phase.name, site, RNG) for site in sites]))
    return transform


def test_covbat_of_regions_by_federated_sums_is_that_of_rows_in_one_place() -> None:
    people = hospitals(a=9, b=7, c=8)
    sites = split(people, 9, 15)
    transform = federated(combat(features="regions", places_mm=32, covbat=True), sites)
    transform.personalise(sites[1], RNG)
    for channel in (0, 1):
        rows = site_features(transform, people, channel)
        expected = Combat.learn([rows], transform.config.covariates, minimum_people=2, covariance=0.95)
        learnt, own = transform.learnt[channel], rows.where(np.arange(9, 24))
        assert learnt is not None
        np.testing.assert_allclose(learnt.harmonized(own), expected.harmonized(own), rtol=0, atol=1e-8)
        plain = replace(expected, components=None).harmonized(own)
        assert np.abs(expected.harmonized(own) - plain).max() > 1e-3
    one = sites[1].scan(0)
    assert not np.array_equal(transform.transform(one).images, one.images)


def visited(people: People, visits: int) -> People:
    """The same scans, as so many visits of fewer people."""
    for number, one in enumerate(people.scans):
        first = people.scans[number - number % visits].person
        people.scans[number] = replace(one, person=replace(one.person, index=number // visits, sex=first.sex))
    return people


def test_longitudinal_combat_of_visits_by_federated_sums_is_that_of_rows_in_one_place() -> None:
    people = visited(hospitals(a=8, b=8, c=8), 2)
    sites = split(people, 8, 16)
    transform = federated(combat(places_mm=16, longitudinal=True), sites)
    assert transform.notes(12) == ()
    transform.personalise(sites[1], RNG)
    rows = site_features(transform, people, 0)
    expected = LongitudinalCombat.learn([rows], transform.config.covariates, minimum_people=2)
    learnt, own = transform.learnt[0], rows.where(np.arange(8, 24))
    assert learnt is not None
    np.testing.assert_allclose(learnt.harmonized(own), expected.harmonized(own), rtol=0, atol=1e-8)
    one = sites[1].scan(3)
    assert not np.array_equal(transform.transform(one).images, one.images)


def test_where_nobody_has_two_scans_longitudinal_combat_is_combat_but_for_degrees_of_freedom() -> None:
    people = hospitals(a=10, b=10)
    once = federated(combat(places_mm=16, prior="none", longitudinal=True), split(people, 10, 10))
    plain = federated(combat(places_mm=16, prior="none"), split(people, 10, 10))
    assert once.notes(20) == (ONCE,)
    first, second = once.methods[0].shared, plain.methods[0].shared
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.slopes, second.slopes, rtol=0, atol=1e-9)
    np.testing.assert_allclose(first.mean, second.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(first.variance * (20 - 2 - 2) / 20, second.variance, rtol=1e-6, atol=1e-12)


def test_at_a_hospital_no_covariance_of_more_regions_than_people_leaves() -> None:
    """From n people's products of p > n residuals anybody's scan could be told to be among theirs, or not."""
    people, fewer = hospitals(a=8, b=7), hospitals(a=7, b=7)
    regions = {"features": "regions", "places_mm": 32, "covbat": True, "covariates": ["sex"]}
    hospital = combat(replace(setting(), told_together=2), **regions)
    hospital.grid.__dict__["counts"] = np.ones(hospital.grid.size, bool)
    assert hospital.grid.size == 12
    hospital.absorb("moments", hospital.statistics("moments", people, RNG))
    assert hospital.statistics("covariance", people, RNG)["products"].any()
    with pytest.raises(SiteError) as refused:
        hospital.statistics("covariance", fewer, RNG)
    assert "14 people train here" in refused.value.detail


def test_products_of_residuals_that_a_hospital_tells_have_nobody_s_own_space() -> None:
    """Means of scanners and slopes take dimensions away, too: a server that works them out must be left with all."""
    regions = {"features": "regions", "places_mm": 32, "covbat": True, "covariates": ["sex"], "prior": "none"}
    for b in range(5, 9):
        people = hospitals(a=7, b=b)
        hospital = combat(replace(setting(), told_together=2), **regions)
        hospital.grid.__dict__["counts"] = np.ones(hospital.grid.size, bool)
        hospital.absorb("moments", hospital.statistics("moments", people, RNG))
        try:
            within = hospital.statistics("covariance", people, RNG)["within"]
        except SiteError:
            continue
        size = hospital.grid.size
        assert [np.linalg.matrix_rank(one, 1e-7 * np.trace(one)) for one in within.reshape(-1, size, size)] == [12, 12]


def test_a_robust_effect_at_a_hospital_is_nobody_s_value() -> None:
    """Sums of what is harmonized, with and without ComBat, can be solved for it: a median is one person's scan."""
    people = hospitals(a=7, b=8)
    whose = np.array([one.person.scanner for one in people.scans])
    for together in (1, 4):
        there = combat(replace(setting(), told_together=together), covariates=[], prior="none", robust=True)
        federated(there, [people]).personalise(people, RNG)
        learnt, values = there.learnt[0], site_features(there, people, 0).values
        assert isinstance(learnt, Combat)
        s = (values - learnt.shared.mean) / np.sqrt(learnt.shared.variance)
        near = np.abs(s[whose == "a"] - learnt.effects["a"].location).min(0)
        assert (near < 1e-9).all() == (together == 1)
        middle = np.sort(s[whose == "b"], 0)[2:6] if together == 4 else np.sort(s[whose == "b"], 0)[3:5]
        np.testing.assert_allclose(learnt.effects["b"].location, middle.mean(0), rtol=0, atol=1e-9)


def test_at_a_hospital_groups_of_visits_are_releases_of_their_own_and_lone_ones_do_not_count() -> None:
    """Of six people with two scans and one with three, who is counted with two."""
    people = visited(hospitals(a=15), 2)
    people.scans[14] = replace(people.scans[14], person=replace(people.scans[14].person, index=6))
    hospital = combat(replace(setting(), told_together=4), places_mm=16, longitudinal=True, covariates=["sex"])
    whose = [one.person for one in people.scans]
    assert [len(group) for group in hospital.told_apart("visits", whose)] == [14]
    assert hospital.statistics("visits", people, RNG)["scans"].tolist() == [14, 14]
    across = hospitals(a=3, b=3)  # two people first on one and then on the other, and one more of each
    for number, index in enumerate((0, 1, 2, 1, 0, 3)):
        one = across.scans[number]
        across.scans[number] = replace(one, person=replace(one.person, index=index))
    few = combat(replace(setting(), told_together=3), places_mm=16, longitudinal=True, covariates=["sex"])
    across.scans = [across.scans[number] for number in (0, 2, 3, 1, 4, 5)]
    with pytest.raises(SiteError) as refused:
        few.statistics("visits", across, RNG)
    assert "no 3 people were scanned as often" in refused.value.detail


@pytest.mark.parametrize(("scans", "least"), [(9.0, 1e-320), (1e-310, 1.0)])
def test_no_sums_that_pass_as_possible_break_the_making_of_components(scans: float, least: float) -> None:
    made = covariance_sums(Rows.of(np.random.default_rng(3).normal(size=(9, 3)), ["a"] * 9))
    made["residuals"] = np.zeros(3)
    for name in ("products", "within"):
        made[name][0] = made[name][:, 0] = 1e-9
        made[name][0, 0] = least
    made["scans"] = np.asarray(scans)
    check_covariance(made)
    if scans < 1:
        with pytest.raises(WireError, match="no residuals have such products"):
            Components.of(made, 0.95)
    else:
        found = Components.of(made, 0.95)
        assert np.abs(found.axes / found.deviation[:, None]).max() < 10


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"covbat": True}, "places are too many"),
        ({"covbat": True, "features": "regions"}, "say places_mm: 32, or more"),
        ({"longitudinal": True}, "say places_mm: 16, or more"),
        (
            {"longitudinal": True, "places_mm": 16, "reference": "a"},
            "reference and longitudinal cannot be had together",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused_in_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        validate_learner(TRANSFORMS, {"name": "combat", **values}, "transforms[0]")


@pytest.mark.parametrize("values", [{"features": "regions", "places_mm": 32, "covbat": True}, {"longitudinal": True}])
def test_sums_of_the_options_are_checked_by_a_server_without_a_grid(values: dict[str, Any]) -> None:
    people = visited(hospitals(a=8, b=8), 2)
    site, server = (combat(where, **{"places_mm": 16, **values}) for where in (None, BARE))
    for phase in site.phases():
        made = site.statistics(phase.name, people, RNG)
        for name, array in made.items():
            for wrong in (-1e6 * array - 1e6, array[..., :-1] if array.ndim else array[None]):
                if name not in ("values", "residuals", "zx", "within_products", "level", "level_covariates", "decades"):
                    with pytest.raises(WireError):
                        server.check(phase.name, {**made, name: wrong})
        for learner in (site, server):
            learner.absorb(phase.name, made)


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
