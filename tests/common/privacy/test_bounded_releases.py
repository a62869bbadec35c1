"""Nobody moves what is released by more than 1, whatever their scans hold; the noise is the one that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from synthetic import People, setting

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import ScanError
from normfed_common.learning.bounded import Bounded, Wrapped
from normfed_common.learning.cohort import Alone, Cohort, Person, Scan
from normfed_common.learning.entries import build
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released, shortened
from normfed_common.studies import validate_learner

ENTRIES: tuple[dict[str, Any], ...] = (
    {"name": "atlas"},
    {"name": "matched-filter", "scales_mm": [0.0, 3.0]},
    {"name": "mixture", "classes": 2, "iterations": 3},
    {"name": "location", "patch_size": 5, "latents": 3, "pairs_per_subject": 60},
    {"name": "siamese", "patch_size": 9},
)
KEY = bytes(range(32))
EVERY_MODEL = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])


def private(entry: dict[str, Any], **changes: Any) -> NormativeModel:
    return build(MODELS, validate_learner(MODELS, entry, "test"), replace(setting(), private=True, **changes))


def draws(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def totals(bounded: Bounded, cohort: Cohort, multiplier: float = 0.0, key: bytes = KEY) -> Arrays:
    found = released(bounded, cohort, draws, SecretNoise(key), multiplier)
    return {name: found[name] for name in bounded.shapes()}


def distance(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(((one[name] - other[name]) ** 2).sum() for name in one)))


def first_phase(model: NormativeModel) -> Bounded:
    bounded = model.bounded(model.phases()[0].name)
    assert bounded is not None
    return bounded


ANY = st.floats(width=64, allow_nan=True, allow_infinity=True)


@given(arrays(np.float64, 5, elements=ANY), arrays(np.float64, (2, 3), elements=ANY))
def test_no_contribution_is_longer_than_1_whatever_is_in_it(one: np.ndarray, two: np.ndarray) -> None:
    found = shortened({"one": one, "two": two})
    assert all(np.isfinite(array).all() for array in found.values())
    assert distance(found, {name: 0 * array for name, array in found.items()}) <= 1 + 1e-12


@given(arrays(np.float64, 4, elements=st.integers(-500, 500).map(lambda n: n / 1000)), st.floats(1, 1e200))
def test_a_contribution_keeps_its_direction_and_a_short_one_its_length(values: np.ndarray, times: float) -> None:
    short, long = shortened({"a": values})["a"], shortened({"a": values * times})["a"]
    np.testing.assert_allclose(short, values / max(1, np.linalg.norm(values)), rtol=1e-12)
    expected = values * min(times, 1 / max(np.linalg.norm(values), 1e-300))
    np.testing.assert_allclose(long, expected, rtol=1e-9, atol=1e-300)


class Malicious(People):
    """Honest people, and one whose scan holds whatever the attacker likes."""

    def __init__(self, value: float, normal: int) -> None:
        super().__init__(4)
        scan = self.scans[2]
        images = np.where(scan.mask, np.float32(value), np.float32(0)) * np.ones_like(scan.images)
        self.scans[2] = replace(scan, images=images, normal_index=scan.normal_index[:normal])


@EVERY_MODEL
@pytest.mark.parametrize(("value", "normal"), [(2.0, 10_000), (3e38, 10_000), (np.nan, 10_000), (2.0, 1), (-1e20, 3)])
def test_a_malicious_person_moves_the_total_by_1_at_most(entry: dict[str, Any], value: float, normal: int) -> None:
    """Against zero in the person's place, which is what neighbours differ by."""
    people, bounded = Malicious(value, normal), first_phase(private(entry))
    with np.errstate(all="ignore"):
        total = totals(bounded, people)
        others = {name: np.zeros_like(array) for name, array in total.items()}
        for number in (0, 1, 3):
            part = shortened(bounded.contribution(Alone(people, number), draws(number)))
            others = {name: others[name] + part[name] for name in others}
    assert distance(total, others) <= 1 + 1e-9


def test_no_contribution_knows_an_age_or_a_sex() -> None:
    """A hospital rounds a person's by those of others, whom a contribution must not depend on."""
    seen: list[Person] = []

    class Noting(Wrapped):
        def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
            seen.extend(person.scan(index).person for index in range(len(person)))
            return super().contribution(person, rng)

    totals(Noting(first_phase(private(ENTRIES[0]))), People(2, visits=2))
    assert seen == [Person(0)] * 4


@EVERY_MODEL
def test_without_noise_a_release_is_the_sum_of_everybodys_contributions(entry: dict[str, Any]) -> None:
    people, bounded = People(4, visits=2), first_phase(private(entry))
    parts = [shortened(bounded.contribution(Alone(people, number), draws(number))) for number in range(4)]
    found = released(bounded, people, draws, SecretNoise(KEY), 0.0)
    for name in bounded.shapes():
        np.testing.assert_allclose(found[name], np.sum([part[name] for part in parts], 0), rtol=1e-12, atol=1e-15)
    beside = bounded.beside(4)
    assert found.keys() == {*bounded.shapes(), *beside}
    for name, array in beside.items():
        np.testing.assert_array_equal(found[name], array)


@EVERY_MODEL
def test_who_comes_twice_counts_once(entry: dict[str, Any]) -> None:
    """Two visits alike are one."""
    if entry["name"] == "location":
        pytest.skip("it draws its patches anew at each visit")
    once, twice = People(2), People(2)
    twice.scans = [scan for scan in once.scans for _ in range(2)]
    bounded = first_phase(private(entry))
    one, two = totals(bounded, once), totals(bounded, twice)
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-9, atol=1e-12)


@EVERY_MODEL
def test_the_noise_of_a_release_is_gaussian_in_every_entry_of_the_width_that_is_asked_for(
    entry: dict[str, Any],
) -> None:
    people, bounded = People(3), first_phase(private(entry))
    plain = totals(bounded, people)
    noise = np.concatenate(
        [
            (totals(bounded, people, 1.7, bytes([number] * 32))[name] - plain[name]).ravel()
            for number in range(8)
            for name in plain
        ]
    )
    assert stats.kstest(noise / 1.7, "norm").pvalue > 1e-4
    assert len(np.unique(noise)) == len(noise)


@EVERY_MODEL
def test_the_same_key_has_the_same_noise_and_another_another(entry: dict[str, Any]) -> None:
    people, bounded = People(2), first_phase(private(entry))
    one, again, other = (totals(bounded, people, 1.0, key) for key in (KEY, KEY, bytes(32)))
    assert distance(one, again) == 0 < distance(one, other)


@EVERY_MODEL
def test_sums_of_sites_add_up_to_those_of_all_their_people(entry: dict[str, Any]) -> None:
    """Where each person draws alike."""
    people, bounded = People(4), first_phase(private(entry))
    parts = [People(0), People(0)]
    parts[0].scans, parts[1].scans = people.scans[:1], people.scans[1:]
    alike = [
        released(bounded, one, lambda _: np.random.default_rng(1), SecretNoise(KEY), 0.0) for one in (people, *parts)
    ]
    for name, whole in alike[0].items():
        np.testing.assert_allclose(alike[1][name] + alike[2][name], whole, rtol=1e-9, atol=1e-12)


@EVERY_MODEL
@pytest.mark.parametrize("multiplier", [0.0, 0.3, 30.0])
def test_a_server_repairs_what_noise_made_impossible_and_a_site_scores_with_it(
    entry: dict[str, Any], multiplier: float
) -> None:
    people, site = People(4), private(entry)
    server = private(entry, shape=(1, 1, 1), open_anatomy=None)
    for phase in site.phases():
        if phase.kind == "averaged":
            break
        here, there = site.bounded(phase.name), server.bounded(phase.name)
        assert here is not None
        assert there is not None
        assert dict(here.shapes()) == dict(there.shapes())
        total = there.repaired(released(here, people, draws, SecretNoise(KEY), multiplier), multiplier)
        server.check(phase.name, total)
        server.absorb(phase.name, total)
        site.load(server.share())
    else:
        found = site.score([people.scan(0)], np.random.default_rng(0)).anomaly
        assert np.isfinite(found).all()
        assert multiplier > 1 or np.ptp(found[people.scan(0).mask]) > 0  # nothing is left of brains under so much


def test_a_model_says_nothing_of_private_sums_that_nothing_bounds() -> None:
    for entry in (
        {"name": "atlas", "regress": ["age"]},
        {"name": "matched-filter", "noise": "learnt"},
        {"name": "mixture", "online": True},
        {"name": "location", "regress": ["sex"]},
    ):
        assert private(entry).bounded("moments") is None
    assert private({"name": "atlas"}, may_lack=("FLAIR",)).bounded("moments") is None


class Unreadable(People):
    """Honest people, and one whose scan cannot be opened."""

    def scan(self, index: int) -> Scan:
        if index == 2:
            raise ScanError("the scan is damaged")
        return super().scan(index)


@EVERY_MODEL
def test_whose_scan_cannot_be_used_adds_nothing_and_no_error_tells_of_it(entry: dict[str, Any]) -> None:
    bounded = first_phase(private(entry))
    others = [shortened(bounded.contribution(Alone(People(4), number), draws(number))) for number in (0, 1, 3)]
    found = totals(bounded, Unreadable(4))
    for name, array in found.items():
        np.testing.assert_allclose(array, sum(one[name] for one in others), atol=1e-12)
