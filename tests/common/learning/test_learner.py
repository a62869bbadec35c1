"""What a learner shares and takes: weights and sums under their names, and nothing that does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning import sum_up
from synthetic import People, setting
from toys import Mixture, MixtureConfig, TwoPhases

from normfed_common.foundation.errors import WireError
from normfed_common.learning.learner import NETWORK, named_sums
from normfed_common.learning.phase import Phase
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
