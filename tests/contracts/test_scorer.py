"""What every one-class score keeps to, on latents of no model: whatever network stands before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from contracts.entries import HEADS, NONSENSE, Entry, every, not_applicable
from synthetic import SHAPE, setting

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.phase import Phase
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.cubes import averaged
from normfed_common.scoring.base import LatentField, OneClassScore
from normfed_common.scoring.catalogue import SCORERS, build_head
from normfed_common.studies import validate_learner

EACH = every(HEADS)
DIMENSION = 3


def fields(count: int, seed: int = 0) -> list[LatentField]:
    """Latents of people who differ a little, at places of their own; the first two of another scanner."""
    rng, size, found = np.random.default_rng(seed), int(np.prod(SHAPE)), []
    for person in range(count):
        index = np.flatnonzero(rng.random(size) < 0.3)
        latents = rng.normal(rng.normal(0, 0.1), 1, (len(index), DIMENSION)).astype(np.float32)
        found.append(LatentField(torch.from_numpy(latents), index, SHAPE, person, "a" if person < 2 else "b"))
    return found


def head_of(entry: Entry) -> OneClassScore:
    return build_head({"fit_on": entry.name, **entry.values}, DIMENSION, setting())


def sums_of(head: OneClassScore, phase: str, people: Sequence[LatentField], rng: np.random.Generator) -> Arrays:
    return {name: np.asarray(array, np.float64) for name, array in head.statistics(phase, people, rng).items()}


def learnt(entry: Entry, people: Sequence[LatentField], times: int = 1) -> OneClassScore:
    head = head_of(entry)
    for phase in head.phases():
        total = sums_of(head, phase.name, people, np.random.default_rng(0))
        for _ in range(times):
            head.absorb(phase.name, total)
    head.personalise(people, len(people), np.random.default_rng(0))
    return head


def scored(head: OneClassScore, field: LatentField, seed: int = 1) -> np.ndarray:
    return head.score(field, np.random.default_rng(seed))


def summed(head: OneClassScore) -> tuple[Phase, ...]:
    if not head.phases():
        not_applicable("has no summed phase")
    return head.phases()


@EACH
def test_a_score_is_a_finite_number_never_negative_for_every_voxel(entry: Entry) -> None:
    people = fields(4)
    head = learnt(entry, people)
    for field in (people[0], *fields(1, seed=9)):
        found = scored(head, field)
        assert found.dtype == np.float32
        assert found.shape == (len(field.latents),)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert found.std() > 0


@EACH
def test_a_latent_far_from_everybody_scores_above_the_middle_of_the_others(entry: Entry) -> None:
    people = fields(4)
    head = learnt(entry, people)
    ill = people[0].latents.clone()
    ill[len(ill) // 2] = 4.0
    found = scored(head, replace(people[0], latents=ill))
    assert found[len(ill) // 2] > np.median(found)


@EACH
def test_the_same_latents_score_the_same_whatever_was_scored_before_and_stay_as_they_are(entry: Entry) -> None:
    people = fields(4)
    alone, busy = learnt(entry, people), learnt(entry, people)
    kept, first = people[0].latents.clone(), scored(alone, people[0])
    scored(busy, people[1], seed=7)
    for head in (alone, busy):
        np.testing.assert_array_equal(scored(head, people[0]), first)
    assert torch.equal(people[0].latents, kept)


@EACH
def test_only_summed_phases_with_names_of_their_own_come_before_a_score(entry: Entry) -> None:
    phases = head_of(entry).phases()
    assert all(phase.kind == "summed" for phase in phases)
    assert len({phase.name for phase in phases}) == len(phases)


@EACH
def test_sums_of_sites_add_up_to_those_of_everybody_and_are_taken(entry: Entry) -> None:
    head, people = head_of(entry), fields(5)
    for phase in summed(head):
        rng = np.random.default_rng(0)
        before = rng.bit_generator.state
        whole = sums_of(head, phase.name, people, rng)
        parts = [sums_of(head, phase.name, part, np.random.default_rng(1)) for part in (people[:2], people[2:])]
        total = add(parts)
        assert {name: array.shape for name, array in total.items()} == {n: array.shape for n, array in whole.items()}
        if rng.bit_generator.state == before:
            for name, array in whole.items():
                np.testing.assert_allclose(total[name], array, rtol=1e-9, atol=1e-9, err_msg=name)
        for sums in (*parts, total, whole):
            assert all(np.isfinite(array).all() for array in sums.values())
            head.check(phase.name, sums)
        places = head.places(phase.name)
        if places is not None:
            head.check(phase.name, averaged(whole, places, 3 * places.edge_mm))
        for name, most in head.counted(phase.name).items():
            assert 0 <= whole[name].min() <= whole[name].max() <= most * len(people)
        head.absorb(phase.name, total)


def wrong_sums(head: OneClassScore, phase: str, sums: Arrays) -> Iterator[Arrays]:
    for name, array in sums.items():
        yield {**sums, name: array[None]}
        yield {other: kept for other, kept in sums.items() if other != name}
    for name in head.counted(phase):
        yield {**sums, name: np.full_like(sums[name], -1.0)}


@EACH
def test_sums_of_another_shape_or_below_0_are_refused(entry: Entry) -> None:
    head, people = head_of(entry), fields(3)
    for phase in summed(head):
        sums = sums_of(head, phase.name, people, np.random.default_rng(0))
        for wrong in wrong_sums(head, phase.name, sums):
            with pytest.raises(WireError):
                head.check(phase.name, wrong)
        head.absorb(phase.name, sums)


@EACH
def test_sums_may_be_absorbed_again(entry: Entry) -> None:
    people = fields(4)
    summed(head_of(entry))
    once, twice = (scored(learnt(entry, people, times), people[0]) for times in (1, 2))
    np.testing.assert_array_equal(once, twice)


@EACH
def test_only_a_score_that_says_so_keeps_something_to_the_site(entry: Entry) -> None:
    here, there = learnt(entry, fields(4)), learnt(entry, fields(4))
    there.personalise(iter(fields(4, seed=5)), 4, np.random.default_rng(0))
    field = fields(1, seed=9)[0]
    same = np.array_equal(scored(here, field), scored(there, field))
    assert same or here.keeps_to_site


@EACH
def test_one_person_is_enough(entry: Entry) -> None:
    people = fields(1)
    assert np.isfinite(scored(learnt(entry, people), people[0])).all()


@EACH
def test_parameters_refuse_nonsense_by_their_name(entry: Entry) -> None:
    one_class = {"fit_on": entry.name, **entry.values}
    with pytest.raises(StudyError, match=r"one_class\.moon"):
        validate_learner(MODELS, {"name": "siamese", "one_class": {**one_class, "moon": 1}}, "model")
    for name in SCORERS[entry.name].Config.model_fields:
        for nonsense in NONSENSE:
            with pytest.raises(StudyError, match=rf"one_class\.{name}"):
                validate_learner(MODELS, {"name": "siamese", "one_class": {**one_class, name: nonsense}}, "model")
