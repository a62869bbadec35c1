"""Training that dies in the middle of a round goes on and gives the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import People, setting

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.corrections import Proximal
from normfed_client.training.loop import Settings, train
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import build
from normfed_common.study.load import validate_model

ENTRY = validate_model({"name": "siamese", "patch_size": 9, "pairs_per_subject": 40, "batch_size": 10}, "test")


class Killed(Exception):
    pass


def settings(folder: Path | None, optimiser: str) -> Settings:
    checkpoints = None if folder is None else TrainingCheckpoints(folder, every_s=0.0)
    return Settings(1, "a", 2, epochs=2, learning_rate=1e-3, optimiser=optimiser, checkpoints=checkpoints)  # type: ignore[arg-type]


def killed_after(model: NormativeModel, batches: int) -> None:
    real = model.batches

    def some(*arguments: Any) -> Iterator[Any]:
        nonlocal batches
        for batch in real(*arguments):
            if batches == 0:
                raise Killed
            batches -= 1
            yield batch

    model.batches = some  # type: ignore[method-assign]


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("steps", [1, 7, 19])
@pytest.mark.parametrize("pulled", [False, True])
def test_interrupted_training_gives_the_same_weights(tmp_path: Path, optimiser: str, steps: int, pulled: bool) -> None:
    people = People(3)

    def correction(model: NormativeModel) -> Proximal | None:
        assert model.network is not None
        return Proximal(0.1, [p.detach().clone() for p in model.network.parameters()]) if pulled else None

    whole = build(ENTRY, setting())
    expected = train(whole, people, settings(None, optimiser), correction(whole))
    first = build(ENTRY, setting())
    killed_after(first, steps)
    with pytest.raises(Killed):
        train(first, people, settings(tmp_path, optimiser), correction(first))
    second = build(ENTRY, setting())
    drawn: list[int] = []
    loss = second.loss
    second.loss = lambda batch: (drawn.append(1), loss(batch))[1]  # type: ignore[method-assign, func-returns-value]
    found = train(second, people, settings(tmp_path, optimiser), correction(second))
    assert found == expected
    assert len(drawn) == expected.steps - steps  # what was done is not done again
    for name, array in whole.share().items():
        np.testing.assert_array_equal(array, second.share()[name], err_msg=name)


def test_a_second_training_of_a_request_has_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    checkpoints = TrainingCheckpoints(tmp_path, 0.0)
    assert checkpoints.next().path != checkpoints.next().path


def test_a_damaged_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    people, whole, again = People(2), build(ENTRY, setting()), build(ENTRY, setting())
    train(whole, people, settings(tmp_path, "adam"))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    train(again, people, settings(tmp_path, "adam"))
    for name, array in whole.share().items():
        np.testing.assert_array_equal(array, again.share()[name])


def test_a_full_disk_does_not_end_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("normfed_client.training.checkpoints.named.save", full)
    model = build(ENTRY, setting())
    assert train(model, People(2), settings(tmp_path, "adam")).steps == 16
    assert torch.isfinite(torch.cat([p.detach().reshape(-1) for p in model.network.parameters()])).all()  # type: ignore[union-attr]
