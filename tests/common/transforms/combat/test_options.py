"""ComBat's options, CovBat and longitudinal: by federated sums as of rows in one place, and what hospitals refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from shifted import BARE, combat, federated, hospitals, visited
from synthetic import People, setting, split

from normfed_common.foundation.errors import SiteError, StudyError, WireError
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.combat.covariance import Components, check_covariance, covariance_sums
from normfed_common.transforms.combat.longitudinal import LongitudinalCombat
from normfed_common.transforms.combat.matrices import Combat
from normfed_common.transforms.combat.methods import ONCE
from normfed_common.transforms.combat.people import rows_of
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.transform import CombatTransform

RNG = np.random.default_rng(0)


def site_features(transform: CombatTransform, people: People, channel: int) -> Rows:
    """The features that count."""
    values = np.array([transform.grid.of(one, channel, normal=True) for one in people.scans])[:, transform.grid.counts]
    rows = rows_of([one.person for one in people.scans], transform.config.covariates)
    return replace(rows, values=values)


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
    assert "no 3 people were scanned equally often" in refused.value.detail


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"covbat": True}, "places are too many"),
        ({"covbat": True, "features": "regions"}, "say places_mm: 32, or more"),
        ({"longitudinal": True}, "say places_mm: 16, or more"),
        (
            {"longitudinal": True, "places_mm": 16, "reference": "a"},
            "reference and longitudinal cannot be combined",
        ),
    ],
    ids=str,
)
def test_options_that_exclude_each_other_are_refused_in_words(values: dict[str, Any], said: str) -> None:
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
