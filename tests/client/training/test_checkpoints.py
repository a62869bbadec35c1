"""One training on disk: what is read back is what was written, and when it is written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from normfed_client.training import checkpoints
from normfed_client.training.checkpoints import Checkpoint, TrainingCheckpoints
from normfed_common.foundation import arrays as named

Training = tuple[torch.nn.Module, torch.optim.Optimizer]


def training(seed: int, kind: str = "adam") -> Training:
    """A network with running statistics, and its optimiser, which has not stepped."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    if kind == "adam":
        return network, torch.optim.Adam(network.parameters(), lr=0.01 * (seed + 1))
    return network, torch.optim.SGD(network.parameters(), lr=0.01 * (seed + 1))


def step(training: Training, seed: int) -> None:
    network, optimiser = training
    optimiser.zero_grad()
    network(torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
    optimiser.step()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock that checkpoints see; a test puts another time in."""
    found = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: found[0])
    return found


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_next_step_after_a_checkpoint_is_what_it_would_have_been(tmp_path: Path, kind: str) -> None:
    one, other = training(0, kind), training(0, kind)
    for number in range(3):
        step(one, number)
    Checkpoint(tmp_path / "c.safetensors", 0).save(*one, {"steps": 3, "total": 0.1, "scaler": {}})
    with torch.no_grad():
        for parameter in other[0].parameters():
            parameter.add_(1)  # whatever it was before
    assert Checkpoint(tmp_path / "c.safetensors", 0).load(*other) == {"steps": 3, "total": 0.1, "scaler": {}}
    for trained in (one, other):
        step(trained, 3)
    for name, tensor in one[0].state_dict().items():
        assert torch.equal(tensor, other[0].state_dict()[name]), name


def test_without_a_checkpoint_nothing_is_touched(tmp_path: Path) -> None:
    trained = training(0)
    before = {name: tensor.clone() for name, tensor in trained[0].state_dict().items()}
    assert Checkpoint(tmp_path / "c.safetensors", 0).load(*trained) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained[0].state_dict().items())


def test_a_checkpoint_is_due_when_more_than_its_time_has_passed_since_the_last(
    tmp_path: Path, now: list[float]
) -> None:
    checkpoint, trained = Checkpoint(tmp_path / "c.safetensors", 60), training(0)
    for start in (100.0, 1000.0):
        now[0] = start
        if start > 100:
            checkpoint.save(*trained, {})
        now[0] = start + 60
        assert not checkpoint.due()
        now[0] = start + 60.5
        assert checkpoint.due()


def test_a_disk_that_is_full_leaves_the_checkpoint_before_and_is_not_tried_at_every_step(
    tmp_path: Path, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, trained = Checkpoint(tmp_path / "c.safetensors", 60), training(0)
    checkpoint.save(*trained, {"steps": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(named, "save_file", full)
    now[0] = 200.0
    checkpoint.save(*trained, {"steps": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    assert checkpoint.load(*training(1)) == {"steps": 1}
    assert not checkpoint.due()


def test_each_training_of_a_request_goes_on_from_its_own_in_their_order(tmp_path: Path) -> None:
    first, second = training(0), training(1)
    request = TrainingCheckpoints(tmp_path, 0)
    for number, trained in enumerate((first, second), start=1):
        request.next().save(*trained, {"training": number})
    again = TrainingCheckpoints(tmp_path, 0)  # after the crash
    assert [again.next().load(*trained) for trained in (first, second)] == [{"training": 1}, {"training": 2}]
    assert again.next().load(*training(2)) is None


def test_nothing_is_left_of_a_request_that_is_answered(tmp_path: Path) -> None:
    folder = tmp_path / "request"
    request = TrainingCheckpoints(folder, 0)
    request.clear()  # none was ever written
    request.next().save(*training(0), {})
    request.clear()
    assert not folder.exists()
