"""The one training loop: gradients by a rule, parts of a network, precision, and steps that overflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from learning import training
from synthetic import People, setting
from toys import TwoPhases

from normfed_client.training.corrections import Controlled
from normfed_client.training.gradients import Plain
from normfed_client.training.loop import Settings, train, trained_parameters
from normfed_client.training.scaling import Scaler
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.entries import build
from normfed_common.learning.learner import Learner
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.models.siamese import Siamese
from normfed_common.studies import validate_learner
from normfed_common.study.base import Frozen

ENTRY = {"name": "siamese", "patch_size": 9, "pairs_per_subject": 30, "batch_size": 15}
ENTRY = validate_learner(MODELS, ENTRY, "test")


def settings(model: Learner, **changes: object) -> Settings:
    return replace(Settings(training(model), 1, "a", 1, epochs=2, learning_rate=0.001, optimiser="sgd"), **changes)  # type: ignore[arg-type]


def siamese(where: Setting | None = None) -> Siamese:
    found = build(MODELS, ENTRY, where or setting())
    assert isinstance(found, Siamese)
    return found


class OneByOne:
    """The plain rule, a sample at a time: what privacy of people builds on, since each gradient is there on its own."""

    def __init__(self) -> None:
        self.people: list[list[int]] = []

    def sample(self, cohort: Cohort, rng: np.random.Generator) -> Cohort:
        return cohort

    def backward(self, loss: torch.Tensor, batch: Batch, parameters: Sequence[torch.nn.Parameter]) -> None:
        totals = [torch.zeros_like(parameter) for parameter in parameters]
        for number, one in enumerate(loss):
            self.people.append(batch.person[number].tolist())
            grads = torch.autograd.grad(one, list(parameters), retain_graph=True)
            for total, grad in zip(totals, grads, strict=True):
                total += grad / len(loss)
        for parameter, total in zip(parameters, totals, strict=True):
            parameter.grad = total


class OnlyFirst(Plain):
    """Learns of the first person alone."""

    def sample(self, cohort: Cohort, rng: np.random.Generator) -> Cohort:
        chosen = People(0)
        chosen.scans = [cohort.scan(0)]
        return chosen


def test_a_rule_that_goes_sample_by_sample_gives_the_weights_of_the_plain_one_and_sees_everybody() -> None:
    plain, rule = siamese(), OneByOne()
    sampled = siamese()
    first = train(plain, People(3), settings(plain))
    second = train(sampled, People(3), settings(sampled, rule=rule))
    assert (first.samples, first.steps) == (second.samples, second.steps)
    assert len(rule.people) == first.samples
    assert {person for pair in rule.people for person in pair} == {0, 1, 2}
    assert all(one != other for one, other in rule.people)
    for name, array in plain.share().items():
        np.testing.assert_allclose(sampled.share()[name], array, rtol=1e-3, atol=1e-4)


def test_a_rule_decides_whom_an_epoch_learns_from() -> None:
    chosen, alone = siamese(), siamese()
    train(chosen, People(3), settings(chosen, rule=OnlyFirst()))
    train(alone, People(1), settings(alone))
    for name, array in alone.share().items():
        np.testing.assert_array_equal(chosen.share()[name], array)


@pytest.mark.parametrize("number", [0, 1])
def test_a_phase_trains_its_parts_and_no_others(number: int) -> None:
    model = TwoPhases(Frozen(), setting())
    before, phase = model.share(), model.phases()[number]
    train(model, People(2), settings(model, phase=phase))
    changed = {name.split(".")[1] for name, array in model.share().items() if (array != before[name]).any()}
    assert changed == set(phase.parts)
    assert {name.split(".")[1] for name, _ in trained_parameters(model, phase)} == set(phase.parts)


def test_bf16_trains_a_float32_network_near_what_float32_makes_of_it() -> None:
    exact, rough = siamese(), siamese(replace(setting(), precision="bf16"))
    progress = train(exact, People(3), settings(exact)), train(rough, People(3), settings(rough))
    assert progress[1].loss == pytest.approx(progress[0].loss, rel=0.02)
    assert progress[1].loss != progress[0].loss
    for name, array in rough.share().items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, exact.share()[name], atol=0.02)


class Overflowing(TwoPhases):
    """Whose loss is beyond fp16 in the batches named."""

    def __init__(self, batches: set[int]) -> None:
        super().__init__(Frozen(), replace(setting(), precision="fp16"))
        self.overflow, self.seen = batches, 0

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        factor = float("inf") if self.seen in self.overflow else 1.0
        self.seen += 1
        return super().loss(phase, batch, rng).float() * factor


def test_a_step_that_overflows_in_fp16_is_left_out_with_all_that_belongs_to_it() -> None:
    """Of three batches the second: the optimiser, SCAFFOLD's correction and the count of steps all leave it out."""

    def trained(overflow: set[int], drift: float) -> tuple[int, dict[str, np.ndarray]]:
        model = Overflowing(overflow)
        parameters = [parameter for _, parameter in trained_parameters(model, model.phases()[0])]
        correction = Controlled(0.01, [torch.full_like(parameter, drift) for parameter in parameters])
        loop = settings(model, epochs=1)
        try:
            steps = train(model, People(3), loop, correction).steps
        except SiteError:
            steps = -1
        return steps, model.share()

    assert trained(set(), 1.0)[0] == 3
    model = Overflowing({1})
    parameters = [parameter for _, parameter in trained_parameters(model, model.phases()[0])]
    before = [parameter.detach().clone() for parameter in parameters]
    optimiser = torch.optim.SGD(parameters, lr=0.1)
    scaler = Scaler(model.setting, optimiser)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, float("inf"))
    scaler.scaled(torch.ones(()))
    scaler.whole()
    assert not scaler.step()
    for parameter, was in zip(parameters, before, strict=True):
        assert torch.equal(parameter, was)


def test_training_of_which_every_step_overflows_says_so_with_a_code() -> None:
    model = Overflowing({0, 1, 2})
    with pytest.raises(SiteError) as caught:
        train(model, People(3), settings(model, epochs=1))
    assert caught.value.code is SiteCode.NOT_FINITE


def test_gradients_are_whole_before_anything_looks_at_them() -> None:
    """In fp16 a correction sees the gradient of the loss, not that of the scaled loss."""
    seen: list[torch.Tensor] = []

    class Looking:
        def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
            seen.extend(parameter.grad.clone() for parameter in parameters if parameter.grad is not None)

        def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
            pass

    for precision in ("float32", "fp16"):
        model = TwoPhases(Frozen(), replace(setting(), precision=precision))  # type: ignore[arg-type]
        train(model, People(1), settings(model, epochs=1, most_batches=1), Looking())
    half = len(seen) // 2
    for exact, scaled in zip(seen[:half], seen[half:], strict=True):
        torch.testing.assert_close(scaled, exact, rtol=0.05, atol=0.02)
