"""What every model keeps to while it learns; what it says of a scan is in test_model_score."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from contracts.entries import EVERY_MODEL, NONSENSE, Entry, every, model_of, not_applicable
from contracts.federating import Federation, learnt_alone, settings, sums_of
from learning import sum_up
from opacus import GradSampleModule
from synthetic import People, split
from torch.nn.modules.batchnorm import _BatchNorm

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.loop import train, trained_parameters
from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import ScanError, StudyError, WireError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Scan
from normfed_common.learning.learner import NORMALISATION_GROUP
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.pipeline import Pipeline
from normfed_common.studies import validate_learner
from normfed_server.sites import claims

EACH = every(EVERY_MODEL)
Record = Callable[[str, object], None]


def phases_of(model: NormativeModel, kind: str) -> list[Phase]:
    """Those of a kind; the check ends where there are none."""
    found = [phase for phase in model.phases() if phase.kind == kind]
    if not found:
        not_applicable(f"has no {kind} phase")
    return found


def learning(entry: Entry) -> NormativeModel:
    """A model in the midst of learning: with the sums that transforms before it need."""
    model = model_of(entry)
    sum_up(model, People(3))
    return model


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def batches(model: NormativeModel, phase: Phase, people: People, seed: int = 0) -> list[Batch]:
    return list(model.batches(phase.name, people, np.random.default_rng(seed)))


def losses(model: NormativeModel, phase: Phase, batch: Batch) -> torch.Tensor:
    return model.loss(phase.name, batch, torch.Generator().manual_seed(5))


def normalises_over_a_batch(model: NormativeModel) -> bool:
    return model.network is not None and any(isinstance(layer, _BatchNorm) for layer in model.network.modules())


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
def test_sums_of_parts_of_a_cohort_add_up_to_those_of_the_whole(entry: Entry) -> None:
    model, people = model_of(entry), People(4, visits=2)
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
    """The same sums with one thing that nobody's can be."""
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
def test_a_scan_without_a_modality_is_coped_with_or_refused_by_its_name_in_training_as_in_scoring(
    entry: Entry, record_property: Record
) -> None:
    refusals = []
    for channel, modality in enumerate(learning(entry).setting.modalities):
        model, people = learning(entry), People(3)
        people.scans[1] = lacking(people.scans[1], channel)
        trained = refusal(lambda model=model, people=people: learn_once(model, people))  # type: ignore[misc]
        scored = refusal(lambda model=model, people=people: score_finite(model, people.scans[1]))  # type: ignore[misc]
        assert all(modality in said and said.endswith(".") for said in (trained, scored) if said)
        assert bool(trained) == bool(scored) or not model.phases(), "it learns from what it does not score"
        refusals += [said for said in (trained, scored) if said][:1]
    if refusals:
        record_property("refused", refusals[0])


def refusal(tried: Callable[[], None]) -> str:
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


@EACH
def test_a_sample_names_everybody_whose_scan_it_is_made_of_and_nobody_else(entry: Entry) -> None:
    """Two visits each of two people: with one person's scans changed, the samples that name them change."""
    model = learning(entry)
    for phase in phases_of(model, "averaged"):
        people, changed = People(2, visits=2), People(2, visits=2)
        assert [len(visits) for visits in people.people()] == [2, 2]
        changed.scans = [
            replace(one, images=one.images + 0.25 * one.mask.astype(np.float32)) if one.person.index == 1 else one
            for one in people.scans
        ]
        found, others = batches(model, phase, people), batches(model, phase, changed)
        assert len(found) == len(others) > 0
        for one, other in zip(found, others, strict=True):
            assert one.person.dtype == torch.int64
            assert one.person.shape[0] == len(one) == len(other)
            assert torch.equal(one.person, other.person)
            named = (one.person == 1).any(1)
            differs = torch.zeros(len(one), dtype=torch.bool)
            for name, tensor in one.data.items():
                assert len(tensor) == len(one)
                differs |= (tensor != other.data[name]).flatten(1).any(1)
            assert torch.equal(differs, named)


@EACH
def test_an_epoch_has_no_more_samples_and_batches_than_is_claimed(entry: Entry) -> None:
    model = learning(entry)
    learner = model.model if isinstance(model, Pipeline) else model
    claimed = type(learner).samples_per_person(learner.config)
    for phase in phases_of(model, "averaged"):
        for people in (People(1), People(3), People(2, visits=2)):
            found = batches(model, phase, people)
            assert sum(map(len, found)) <= claimed * len(people)
            assert len(found) <= model.most_batches(phase.name, len(people))


@EACH
def test_losses_are_one_per_sample_finite_and_of_that_sample_alone(entry: Entry) -> None:
    model, people = learning(entry), People(3)
    for phase in phases_of(model, "averaged"):
        assert model.network is not None
        if normalises_over_a_batch(model):
            not_applicable("normalises over a batch, as published")
        for training in (True, False):
            model.network.train(training)
            batch = batches(model, phase, people)[0]
            whole = losses(model, phase, batch).detach()
            assert whole.shape == (len(batch),)
            assert torch.isfinite(whole).all()
            first = Batch({name: tensor[:1] for name, tensor in batch.data.items()}, batch.person[:1])
            others = {name: tensor.flip(0).clone() for name, tensor in batch.data.items()}
            for name, tensor in batch.data.items():
                others[name][0] = tensor[0]
            beside = Batch(others, torch.cat([batch.person[:1], batch.person.flip(0)[1:]]))
            torch.testing.assert_close(losses(model, phase, beside)[0].detach(), whole[0], rtol=1e-4, atol=1e-5)
            if not training:  # dropout draws for a whole batch
                torch.testing.assert_close(losses(model, phase, first)[0].detach(), whole[0], rtol=1e-4, atol=1e-5)


@EACH
def test_gradients_per_sample_are_those_of_opacus(entry: Entry) -> None:
    """Privacy of people clips each; a sample that passes the network several times has the sum over its passes."""
    model, people = learning(entry), People(3)
    for phase in phases_of(model, "averaged"):
        if normalises_over_a_batch(model):
            not_applicable("normalises over a batch, as published")
        assert model.network is not None
        model.network.train()
        batch, trained = batches(model, phase, people)[0], trained_parameters(model, phase)
        parameters = [parameter for _, parameter in trained]
        one_by_one = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses(model, phase, batch)]
        sampled = GradSampleModule(model.network, loss_reduction="sum", force_functorch=True)
        losses(model, phase, batch).sum().backward()
        # Biases before a normalisation have a gradient of rounding errors alone: the scale is that of all.
        scale = max(float(grad.abs().max()) for grads in one_by_one for grad in grads)
        for number, (name, parameter) in enumerate(trained):
            expected = torch.stack([grads[number] for grads in one_by_one])
            found = parameter.grad_sample  # type: ignore[attr-defined]
            found = found.unflatten(0, (len(batch), -1)).sum(1)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * scale, msg=name)
        sampled.to_standard_module()


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
