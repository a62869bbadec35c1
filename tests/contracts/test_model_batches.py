"""What every model that trains a network keeps to: whose a sample is, and losses and gradients of one sample alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from contracts.entries import EVERY_MODEL, Entry, every, not_applicable
from contracts.phases import batches, learning, losses, phases_of
from opacus import GradSampleModule
from synthetic import People
from torch.nn.modules.batchnorm import _BatchNorm

from normfed_client.training.loop import trained_parameters
from normfed_common.learning.batch import Batch
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import Pipeline

EACH = every(EVERY_MODEL)


def normalises_over_a_batch(model: NormativeModel) -> bool:
    return model.network is not None and any(isinstance(layer, _BatchNorm) for layer in model.network.modules())


@EACH
def test_a_sample_names_everybody_whose_scan_it_is_made_of_and_nobody_else(entry: Entry) -> None:
    """Two visits each of two people: with one person's scans changed, the samples that name them change."""
    model = learning(entry)
    for phase in phases_of(model, "averaged"):
        people, changed = People(2, visits=2), People(2, visits=2)
        assert [len(visits) for visits in people.people()] == [2, 2]
        # Not by scale and median, which some models take away.
        changed.scans = [
            replace(one, images=np.sqrt(one.images)) if one.person.index == 1 else one for one in people.scans
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
                differs |= (tensor != other.data[name]).reshape(len(one), -1).any(1).cpu()
            assert torch.equal(differs, named)


@EACH
def test_a_sample_is_of_no_more_people_than_the_model_says_however_many_there_are(entry: Entry) -> None:
    """Where people are protected, it is drawn from so many alone."""
    model = learning(entry)
    for phase in phases_of(model, "averaged"):
        most = model.people_per_sample(phase.name)
        found = batches(model, phase, People(most))
        assert {len(set(row)) for batch in found for row in batch.person.tolist()} <= set(range(1, most + 1))
        assert max(len(set(row)) for batch in found for row in batch.person.tolist()) == most


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
