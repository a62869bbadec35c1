"""What every model keeps to while it learns; its batches and what it says of a scan have suites of their own."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from contracts.entries import EVERY_MODEL, NONSENSE, Entry, every, model_of, not_applicable
from contracts.federating import Federation, learnt_alone, settings, sums_of
from contracts.phases import batches, learning, losses, phases_of
from synthetic import People, setting, split

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.loop import train
from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import ScanError, StudyError, WireError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import draws
from normfed_common.learning.learner import NORMALISATION_GROUP
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.cubes import averaged
from normfed_common.studies import resolve, validate_learner
from normfed_common.study.config import StudyConfig
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_server.sites import claims

EACH = every(EVERY_MODEL)
Record = Callable[[str, object], None]


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@EACH
def test_a_federation_of_one_is_plain_learning_bit_for_bit(entry: Entry, tmp_path: Path) -> None:
    people = People(3)
    federation = Federation(lambda: model_of(entry), {"a": people}, tmp_path)
    alone = model_of(entry)
    learnt_alone(alone, people, "a")
    assert_same(federation.model_at("a").share(), alone.share())


@EACH
def test_sites_that_work_in_another_order_make_the_same_model(entry: Entry, tmp_path: Path) -> None:
    first, second = split(People(4), 1, 3)
    found = [
        Federation(lambda: model_of(entry), sites, tmp_path / str(number)).server.share()
        for number, sites in enumerate(({"a": first, "b": second}, {"b": second, "a": first}))
    ]
    assert_same(*found)


@EACH
def test_phases_have_names_of_their_own_and_every_array_is_in_one_part(entry: Entry) -> None:
    model = model_of(entry)
    names = [phase.name for phase in model.phases()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in names)
    groups = model.groups()
    normalisation = groups.pop(NORMALISATION_GROUP, ())
    found = sorted(array for part in groups.values() for array in part)
    assert found == sorted(model.share())
    assert set(normalisation) <= set(found)
    assert set(model.personal) <= set(groups)
    assert all(set(phase.parts) <= set(groups) for phase in model.phases())
    assert all(model.arrays_of(phase) for phase in model.phases() if phase.kind == "averaged")


@EACH
def test_where_nothing_is_drawn_another_seed_ends_in_the_same_model(entry: Entry, tmp_path: Path) -> None:
    with toys.registered():
        if draws(MODELS, entry.raw) or any(draws(TRANSFORMS, {"name": name}) for name in entry.transforms):
            not_applicable("it draws")
    people, found = People(3), []
    for seed in (3, 4):
        where = replace(setting(), seed=seed)
        learnt = Federation(partial(model_of, entry, where), {"a": people}, tmp_path / str(seed)).server
        rng = np.random.default_rng(seed)
        before = rng.bit_generator.state
        for phase in learnt.phases():
            sums_of(learnt, phase.name, people, rng)
        maps = learnt.score([people.scan(0)], rng).maps()
        assert rng.bit_generator.state == before
        found.append(learnt.share() | maps)
    assert_same(*found)
    assert all(phase.kind == "summed" for phase in model_of(entry).phases())  # batches are drawn


@EACH
def test_sums_of_parts_of_a_cohort_add_up_to_those_of_the_whole(entry: Entry) -> None:
    model, people = model_of(entry), People(4, visits=2)
    for number, one in enumerate(people.scans):  # no scanner is at two sites
        people.scans[number] = replace(one, person=replace(one.person, scanner="a" if number < 2 else "b"))
    for phase in phases_of(model, "summed"):
        rng = np.random.default_rng(3)
        before = rng.bit_generator.state
        whole = sums_of(model, phase.name, people, rng)
        parts = [sums_of(model, phase.name, part, np.random.default_rng(4)) for part in split(people, 2, 6)]
        total = add(parts)
        assert set(total) == set(whole)
        if rng.bit_generator.state == before:  # what draws has sums of other draws, which `counted` bounds
            for name, array in whole.items():
                np.testing.assert_allclose(total[name], array, rtol=1e-9, atol=1e-9, err_msg=name)
        for name, most in model.counted(phase.name).items():
            assert 0 <= whole[name].min() <= whole[name].max() <= most * len(people), name
        model.absorb(phase.name, total)


def spoilt(sums: Arrays, counted: Any) -> Iterator[tuple[str, Arrays]]:
    """The same sums with one thing that people's cannot be."""
    for name, array in sums.items():
        yield f"{name} of another shape", {**sums, name: array[None]}
        yield f"no {name}", {n: a for n, a in sums.items() if n != name}
        yield f"{name} is not a number", {**sums, name: np.full_like(array, np.nan)}
    for name in counted:
        yield f"{name} below 0", {**sums, name: np.full_like(sums[name], -1.0)}


def is_refused(sums: Arrays, model: NormativeModel, phase: Phase, people: int) -> bool:
    try:
        claims.sums(sums, model, phase.name, people)
    except WireError:
        return True
    return False


@EACH
def test_honest_sums_are_taken_and_those_that_nobody_can_have_are_refused(entry: Entry) -> None:
    model, people = model_of(entry), People(3)
    for phase in phases_of(model, "summed"):
        sums = sums_of(model, phase.name, people, np.random.default_rng(0))
        claims.sums(sums, model, phase.name, len(people))
        for part in split(people, 1, 2):
            model.check(phase.name, sums_of(model, phase.name, part, np.random.default_rng(0)))
        places = model.places(phase.name)
        if places is not None:
            model.check(phase.name, averaged(sums, places, 3 * places.edge_mm))
        for what, wrong in spoilt(sums, model.counted(phase.name)):
            assert is_refused(wrong, model, phase, len(people)), what
        model.absorb(phase.name, sums)


@EACH
def test_sums_may_be_absorbed_again_and_stay_as_they_are(entry: Entry) -> None:
    once, twice, people = model_of(entry), model_of(entry), People(3)
    for phase in phases_of(once, "summed"):
        sums = sums_of(once, phase.name, people, np.random.default_rng(0))
        kept = {name: array.copy() for name, array in sums.items()}
        once.absorb(phase.name, sums)
        for _ in range(2):
            twice.absorb(phase.name, sums)
        assert_same(sums, kept)
    assert_same(once.share(), twice.share())
    first, second = (model.score([people.scan(0)], np.random.default_rng(1)).maps() for model in (once, twice))
    assert_same(dict(second), first)


@EACH
def test_the_reference_of_a_loss_is_none_or_finite_and_above_0(entry: Entry, record_property: Record) -> None:
    model, people = model_of(entry), People(3)
    for phase in phases_of(model, "averaged"):
        learnt_alone(model, people, "a")
        reference = model.reference_loss(phase.name)
        assert reference is None or (np.isfinite(reference) and reference > 0)


class Killed(Exception):
    pass


@EACH
@pytest.mark.parametrize("done", [1, 2])
def test_a_round_that_is_killed_goes_on_to_the_same_weights(entry: Entry, done: int, tmp_path: Path) -> None:
    people = People(3)
    for number, phase in enumerate(phases_of(model_of(entry), "averaged"), 1):
        whole = learning(entry)
        expected = train(whole, people, replace(settings(phase, "a", number), epochs=2))
        assert expected.steps > 2
        kept = TrainingCheckpoints(tmp_path / phase.name, every_s=0.0)
        killed = learning(entry)
        real = killed.batches

        def some(*given: Any, real: Any = real) -> Iterator[Batch]:
            for drawn, batch in enumerate(real(*given)):
                if drawn == done:
                    raise Killed
                yield batch

        killed.batches = some  # type: ignore[method-assign, assignment]
        with pytest.raises(Killed):
            train(killed, people, replace(settings(phase, "a", number), epochs=2, checkpoints=kept))
        again, kept = learning(entry), TrainingCheckpoints(tmp_path / phase.name, every_s=0.0)
        assert train(again, people, replace(settings(phase, "a", number), epochs=2, checkpoints=kept)) == expected
        assert_same(again.share(), whole.share())


@EACH
def test_one_person_is_enough_to_learn_from_or_is_refused_in_words(
    entry: Entry, record_property: Record, tmp_path: Path
) -> None:
    people = People(1)

    def learn_and_score() -> None:
        model = Federation(lambda: model_of(entry), {"a": people}, tmp_path).model_at("a")
        model.personalise(people, np.random.default_rng(0))
        assert np.isfinite(model.score([people.scan(0)], np.random.default_rng(0)).anomaly).all()

    said = refusal(learn_and_score)
    if said:
        assert said.endswith(".")
        record_property("refused", said)


@EACH
def test_a_scan_without_a_modality_is_refused_by_its_name_in_training_and_scoring_where_the_model_needs_it(
    entry: Entry, record_property: Record
) -> None:
    """And coped with where not; a study whose scans may lack what is needed is refused when it is read."""
    refusals = []
    for channel, modality in enumerate(setting().modalities):
        unread = refusal(lambda lack=modality: resolved(entry, lack))  # type: ignore[misc]
        where = replace(setting(), may_lack=(modality,))
        model, people = learning(entry, where), People(3)
        people.scans[1] = lacking(people.scans[1], channel)
        trained = refusal(lambda model=model, people=people: learn_once(model, people))  # type: ignore[misc]
        scored = refusal(lambda model=model, people=people: score_finite(model, people.scans[1]))  # type: ignore[misc]
        assert bool(scored) == bool(unread)
        assert bool(trained) == bool(unread) or not model.phases()
        assert all(modality in said and said.endswith(".") for said in (unread, trained, scored) if said)
        refusals += [scored] if scored else []
    if refusals:
        record_property("refused", refusals[0])


def resolved(entry: Entry, may_lack: str) -> StudyConfig:
    """A study of the model whose scans may lack a modality."""
    data = {"modalities": setting().modalities, "may_lack": [may_lack]}
    raw = {"name": "x", "data": data, "model": entry.raw, "transforms": entry.transforms}
    with toys.registered():
        return resolve({**raw, "comparisons": {"baselines": []}}, "test")


def refusal(tried: Callable[[], object]) -> str:
    """What is said of a scan or a cohort; empty where it is coped with."""
    try:
        tried()
    except (ScanError, StudyError) as error:
        return str(error)
    return ""


def learn_once(model: NormativeModel, people: People) -> None:
    for phase in model.phases():
        if phase.kind == "averaged":
            for batch in batches(model, phase, people):
                assert torch.isfinite(losses(model, phase, batch)).all()
        else:
            for array in sums_of(model, phase.name, people, np.random.default_rng(0)).values():
                assert np.isfinite(array).all()


def score_finite(model: NormativeModel, scan: Scan) -> None:
    model.personalise(People(3), np.random.default_rng(0))
    assert np.isfinite(model.score([scan], np.random.default_rng(0)).anomaly).all()


def lacking(scan: Scan, channel: int) -> Scan:
    """The same visit without a modality."""
    images, present = scan.images.copy(), scan.present.copy()
    images[channel], present[channel] = 0, False
    return replace(scan, images=images, present=present)


def global_streams() -> tuple[object, ...]:
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), random.getstate()  # noqa: NPY002


@EACH
def test_first_weights_follow_the_seed_of_the_study_and_no_global_stream(entry: Entry) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(model_of(entry).share())
    assert_same(*found)


@EACH
def test_learning_and_scoring_draw_from_no_global_stream(entry: Entry, request: pytest.FixtureRequest) -> None:
    if entry.values.get("one_class", {}).get("fit_on") == "federated":
        reason = "scikit-learn's SGD draws a seed that it has no use for from NumPy's global stream"
        request.applymarker(pytest.mark.xfail(reason=reason))
    model, people = model_of(entry), People(3)
    before = global_streams()
    learnt_alone(model, people, "a")
    model.personalise(people, np.random.default_rng(0))
    model.score([people.scan(0)], np.random.default_rng(0))
    assert global_streams() == before


@EACH
def test_parameters_refuse_nonsense_by_their_name(entry: Entry) -> None:
    with toys.registered():
        with pytest.raises(StudyError, match="moon"):
            validate_learner(MODELS, {**entry.raw, "moon": 1}, "model")
        for name in MODELS[entry.name].Config.model_fields:
            for nonsense in NONSENSE:
                with pytest.raises(StudyError, match=name):
                    validate_learner(MODELS, {**entry.raw, name: nonsense}, "model")
