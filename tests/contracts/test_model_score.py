"""What every model keeps to when it scores a scan: finite, never negative, 0 outside the brain, the same every time."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from contracts.entries import EVERY_MODEL, Entry, every, model_of
from contracts.federating import learnt_alone
from learning import sum_up
from synthetic import People, scan

from normfed_common.learning.cohort import UNNUMBERED, Scan, Visits
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel

EACH = every(EVERY_MODEL)


def learnt(entry: Entry, people: People) -> NormativeModel:
    """A model with its sums and its site's part, as it scores."""
    model = model_of(entry)
    sum_up(model, people)
    model.personalise(people, np.random.default_rng(0))
    return model


def scored(model: NormativeModel, *visits: Scan, seed: int = 1) -> Score:
    """As a site scores: whoever it is, they have no number among the people trained on."""
    nobody = [replace(visit, person=replace(visit.person, index=UNNUMBERED)) for visit in visits]
    return model.score(nobody, np.random.default_rng(seed))


def assert_same(found: Score, expected: Score) -> None:
    assert set(found.maps()) == set(expected.maps())
    for name, array in expected.maps().items():
        np.testing.assert_array_equal(found.maps()[name], array, err_msg=name)


@EACH
def test_a_map_is_finite_never_negative_and_not_constant_and_exactly_0_outside_the_brain(entry: Entry) -> None:
    people = People(4)
    model = learnt(entry, people)
    for one in (people.scan(0), scan(np.random.default_rng(9))):
        found = scored(model, one)
        for name, array in found.maps().items():
            assert array.dtype == np.float32, f"the map {name} is of {array.dtype}, not of float32"
            assert array.shape == one.mask.shape, f"the map {name} is of {array.shape}, the scan of {one.mask.shape}"
            assert np.isfinite(array).all(), f"the map {name} has values that are not finite"
            assert (array[~one.mask] == 0).all(), f"the map {name} is not 0 outside the brain"
        assert (found.anomaly >= 0).all(), "the anomaly is negative somewhere"
        assert found.anomaly[one.mask].std() > 0, "the anomaly is the same at every voxel of a brain of noise"
        assert found.uncertainty is None or (found.uncertainty >= 0).all(), "the uncertainty is negative somewhere"


@EACH
def test_a_score_is_the_same_twice_and_whoever_was_scored_before(entry: Entry) -> None:
    people = People(4)
    alone, busy = learnt(entry, people), learnt(entry, people)
    first = scored(alone, people.scan(0))
    assert_same(scored(alone, people.scan(0)), first)
    for number in (1, 2):
        scored(busy, people.scan(number), seed=number)
    assert_same(scored(busy, people.scan(0)), first)


@EACH
def test_scoring_leaves_scan_and_model_as_they_were(entry: Entry) -> None:
    people = People(4)
    model, one = learnt(entry, people), scan(np.random.default_rng(9))
    kept = {field.name: np.copy(getattr(one, field.name)) for field in fields(one) if field.name != "person"}
    shared = model.share()
    scored(model, one)
    for name, array in kept.items():
        np.testing.assert_array_equal(getattr(one, name), array)
    for name, array in shared.items():
        np.testing.assert_array_equal(model.share()[name], array, err_msg=name)


@EACH
def test_the_last_of_several_visits_is_scored_each_opened_when_it_is_looked_at(entry: Entry) -> None:
    people = People(3, visits=2)
    model = learnt(entry, people)
    visits = [people.scan(0), people.scan(1)]
    found = model.score(Visits([lambda one=one: one for one in visits]), np.random.default_rng(1))  # type: ignore[misc]
    assert_same(found, scored(model, *visits))
    assert np.isfinite(found.anomaly).all()
    assert (found.anomaly[~visits[-1].mask] == 0).all()


@EACH
def test_a_model_that_was_shared_scores_like_the_one_that_shared_it(entry: Entry) -> None:
    people = People(3)
    model, other = model_of(entry), model_of(entry)
    learnt_alone(model, people, "a")
    other.load(model.share())
    for one in (model, other):
        one.personalise(people, np.random.default_rng(0))
    assert_same(scored(other, people.scan(1)), scored(model, people.scan(1)))
