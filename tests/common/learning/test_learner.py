"""What a learner shares and takes: weights and sums under their names, and nothing that does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import toys
from learning import sum_up
from synthetic import People, setting
from toys import Mixture, MixtureConfig, TwoPhases

from normfed_common.foundation.errors import PluginError, WireError
from normfed_common.learning.entries import build
from normfed_common.learning.learner import NETWORK, named_sums
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.study.base import Frozen


def two_phases(seed: int = 3) -> TwoPhases:
    model = TwoPhases(Frozen(), setting())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in model.network.parameters():  # type: ignore[union-attr]
            parameter.data = torch.randn_like(parameter)
    return model


def test_what_one_learner_shares_another_takes() -> None:
    one, other = two_phases(1), two_phases(2)
    other.load(one.share())
    for name, array in one.share().items():
        np.testing.assert_array_equal(other.share()[name], array)
    mixture, again = Mixture(MixtureConfig(), setting()), Mixture(MixtureConfig(), setting())
    sum_up(mixture, People(2))
    again.load(mixture.share())
    np.testing.assert_array_equal(again.means, mixture.means)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network.encoder.weight": None}, "there is no network.encoder.weight"),
        ({"network.encoder.weight": np.zeros((2, 2), np.float32)}, "network.encoder.weight is of shape"),
        ({"network.stranger": np.zeros(1, np.float32)}, "the network has no network.stranger"),
    ],
    ids=["absent", "of another shape", "unknown"],
)
def test_weights_that_are_not_the_networks_are_refused_and_nothing_is_loaded(
    change: dict[str, np.ndarray | None], sentence: str
) -> None:
    model = two_phases()
    before = model.share()
    arrays = {name: array + 1 for name, array in before.items()} | change
    with pytest.raises(WireError, match=sentence):
        model.load({name: array for name, array in arrays.items() if array is not None})
    for name, array in model.share().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_phase_names_the_arrays_of_its_parts_and_without_parts_all() -> None:
    model = two_phases()
    encoding, decoding = model.phases()
    assert model.arrays_of(encoding) | model.arrays_of(decoding) == set(model.share())
    assert not model.arrays_of(encoding) & model.arrays_of(decoding)
    assert model.arrays_of(Phase("all", "averaged")) == set(model.share())
    assert all(name.startswith(f"{NETWORK}decoder.") for name in model.arrays_of(decoding))


def test_sums_are_shared_under_their_phases_name() -> None:
    assert named_sums("em", {"n": np.ones(1)}).keys() == {"sums.em.n"}


class Faulty(TwoPhases):
    """With one thing wrong in its phases or parts."""

    wrong: tuple[Phase, ...] = ()

    def phases(self) -> tuple[Phase, ...]:
        return self.wrong or super().phases()


class HalfInParts(TwoPhases):
    """No part holds the decoder."""

    def phases(self) -> tuple[Phase, ...]:
        return super().phases()[:1]

    def __init__(self, config: Frozen, setting: Setting) -> None:
        super().__init__(config, setting)
        self.parts = {name: module for name, module in self.parts.items() if name != "decoder"}


class TwiceInParts(TwoPhases):
    """Two parts hold the decoder."""

    def __init__(self, config: Frozen, setting: Setting) -> None:
        super().__init__(config, setting)
        self.parts = {**self.parts, "all": torch.nn.ModuleDict({"decoder": self.parts["decoder"]})}


class WithoutBatches(NormativeModel):
    """Forgets what its phase needs."""

    Config = Frozen

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("training", "averaged"),)

    batches, loss, score = TwoPhases.batches, TwoPhases.loss, TwoPhases.score  # type: ignore[assignment]


class WithoutNetwork(WithoutBatches):
    """Has no network."""

    most_batches = TwoPhases.most_batches  # type: ignore[assignment]
    samples_per_person = TwoPhases.samples_per_person


class WithoutSums(WithoutNetwork):
    """Forgets its statistics."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("moments", "summed"),)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (WithoutBatches, {}, "it does not implement most_batches, which the phase training needs"),
        (WithoutNetwork, {}, "it has no network, which the phase training trains"),
        (WithoutSums, {}, "it does not implement statistics, which the phase moments needs"),
        (Faulty, {"wrong": (Phase("a", "averaged"), Phase("b", "averaged"), Phase("a", "averaged"))}, "two phases are"),
        (Faulty, {"wrong": (Phase("a", "averaged", parts=("moon",)),)}, "the phase a trains moon, which is no part"),
        (Faulty, {"personal": ("moon",)}, "moon is personal, but no part"),
        (
            Faulty,
            {"parts": {}, "wrong": (Phase("a", "averaged"),)},
            "it names no parts of the network, which the phase a trains",
        ),
        (Faulty, {"parts": {"normalisation": torch.nn.Linear(1, 1)}}, "a part is called normalisation"),
        (HalfInParts, {}, r"network.decoder.weight has to be in exactly one of its parts, and is in none\."),
        (
            TwiceInParts,
            {},
            r"network.decoder.weight has to be in exactly one of its parts, and is in decoder and all\.",
        ),
    ],
    ids=[
        "most_batches",
        "network",
        "statistics",
        "phases",
        "part",
        "personal",
        "parts",
        "normalisation",
        "half",
        "twice",
    ],
)
def test_what_an_author_forgot_is_said_before_anything_is_learnt(
    kind: type[NormativeModel], change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Made(kind):  # type: ignore[misc, valid-type]
        def __init__(self, config: Frozen, setting: Setting) -> None:
            super().__init__(config, setting)
            for name, value in change.items():
                setattr(self, name, value)

    with toys.registered():
        monkeypatch.setitem(MODELS._entries, "made", Made)
        with pytest.raises(PluginError, match=f"Made cannot be used: {said}"):
            build(MODELS, {"name": "made"}, setting())
