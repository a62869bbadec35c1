"""The one training loop: gradients by a rule, parts of a network, precision, and steps that overflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from learning import sum_up, training
from synthetic import People, setting
from toys import Centring, TwoPhases

from normfed_client.training.corrections import Controlled
from normfed_client.training.loop import Settings, mean_loss, train, trained_parameters
from normfed_client.training.scaling import Scaler
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.batch import Batch
from normfed_common.learning.entries import build
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline
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


class PartlyNormalised(TwoPhases):
    """Whose encoder normalises over batches, with dropouts inside a part and between the parts."""

    def __init__(self) -> None:
        super().__init__(Frozen(), setting())
        self.encoder = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.0))
        self.encoder.to(self.setting.device)
        parts = {"encoder": self.encoder, "adapter": self.parts["adapter"], "decoder": self.parts["decoder"]}
        self.network = torch.nn.ModuleDict({**parts, "between": torch.nn.Dropout(0.0)})
        self.parts = parts
        self.modes: list[dict[str, bool]] = []

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        assert self.network is not None
        self.modes.append({name: module.training for name, module in self.network.named_modules()})
        return super().loss(phase, batch, rng)


def test_what_a_phase_does_not_train_is_in_evaluation_mode_while_the_rest_trains() -> None:
    model = PartlyNormalised()
    encoding, decoding = model.phases()
    before = model.share()["network.encoder.1.running_mean"]
    train(model, People(2), settings(model, phase=decoding))
    np.testing.assert_array_equal(model.share()["network.encoder.1.running_mean"], before)
    frozen = {"encoder", "encoder.0", "encoder.1", "encoder.2", "adapter"}
    assert {name for name, mode in model.modes[-1].items() if not mode} == frozen
    train(model, People(2), settings(model, phase=encoding))  # whatever was trained before
    assert (model.share()["network.encoder.1.running_mean"] != before).any()
    assert {name for name, mode in model.modes[-1].items() if not mode} == {"decoder"}
    train(model, People(2), settings(model, phase=Phase("decoding", "averaged")))
    assert all(model.modes[-1].values())


class Drawing(TwoPhases):
    """Whose loss draws, and keeps what it needs again."""

    def __init__(self) -> None:
        super().__init__(Frozen(), setting())
        self.drawn: list[int] = []
        self.kept: torch.Tensor | None = None

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        self.drawn.append(int(torch.randint(1 << 40, (1,), generator=rng)))
        if self.kept is None:
            self.kept = torch.full((64,), 2.0, device=self.setting.device)
        return super().loss(phase, batch, rng) * self.kept


def test_the_loss_of_a_model_as_it_is_draws_what_the_first_steps_draw_and_leaves_it_trainable() -> None:
    measured, trained, people = Drawing(), Drawing(), People(3)
    found = [mean_loss(measured, people, settings(measured)) for _ in range(2)]
    train(trained, people, settings(trained, epochs=1))
    assert found[0] == found[1]
    assert measured.drawn == 2 * trained.drawn
    train(measured, people, settings(measured, epochs=1))
    for name, array in trained.share().items():
        np.testing.assert_array_equal(measured.share()[name], array)


@pytest.mark.parametrize("shape", [(), (64, 1), (1,), (63,)], ids=str)
def test_a_loss_that_is_not_one_number_per_sample_is_an_error_that_says_so(shape: tuple[int, ...]) -> None:
    model = TwoPhases(Frozen(), setting())
    total = model.loss
    model.loss = lambda *given: total(*given).sum().expand(shape)  # type: ignore[method-assign]
    for work in (train, mean_loss):
        with pytest.raises(TypeError, match=r"TwoPhases in the phase encoding has shape .*per sample, \(64,\)"):
            work(model, People(1), settings(model))


def test_what_is_no_batch_is_an_error_that_names_the_learner_also_behind_transforms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TwoPhases, "batches", lambda *_: iter([{"voxels": torch.zeros(64, 2)}]))
    model = TwoPhases(Frozen(), setting())
    behind = Pipeline([Centring(Frozen(), setting())], TwoPhases(Frozen(), setting()))
    for learner in (model, behind):
        sum_up(learner, People(1))
        for work in (train, mean_loss):
            with pytest.raises(TypeError, match="TwoPhases yields a dict in the phase encoding; it must be a Batch"):
                work(learner, People(1), settings(learner))


def test_more_epochs_than_a_hospital_allows_are_refused_whoever_asks_for_them() -> None:
    model = TwoPhases(Frozen(), setting())
    train(model, People(1), settings(model, epochs=2, most_epochs=2))
    with pytest.raises(SiteError) as caught:
        train(model, People(1), settings(model, epochs=3, most_epochs=2))
    assert caught.value.code is SiteCode.TOO_MUCH_ASKED
    assert caught.value.detail == "most_epochs: a training of 3 epochs, site.yaml allows 2"


@pytest.mark.parametrize("claimed", [0, 63])
def test_a_learner_that_draws_more_samples_than_it_claims_is_stopped(
    claimed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hospital allows a study by what its models claim; one that claims nothing must not pass."""
    monkeypatch.setattr(TwoPhases, "samples_per_person", classmethod(lambda cls, config: claimed))
    model = TwoPhases(Frozen(), setting())
    behind = Pipeline([Centring(Frozen(), setting())], TwoPhases(Frozen(), setting()))
    for learner in (model, behind):
        sum_up(learner, People(2))
        for work in (train, mean_loss):
            with pytest.raises(SiteError) as caught:
                work(learner, People(2), settings(learner))
            assert caught.value.code is SiteCode.TOO_MUCH_ASKED
            assert "samples_per_person" in caught.value.detail


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
        train(model, People(1), settings(model, epochs=1, most_steps=1), Looking())
    half = len(seen) // 2
    for exact, scaled in zip(seen[:half], seen[half:], strict=True):
        torch.testing.assert_close(scaled, exact, rtol=0.05, atol=0.02)
