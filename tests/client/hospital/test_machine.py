"""What an operator is told of a hospital's machine: round figures."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest
import torch

from normfed_client.hospital import machine
from normfed_client.hospital.site import Site


def site(tmp_path: Path, device: str) -> Site:
    found = SimpleNamespace(
        device=torch.device(device),
        study=SimpleNamespace(digest="ab12"),
        config=SimpleNamespace(output=tmp_path / "state" / "run-1"),
    )
    return cast(Site, found)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 12.34 GB of free memory, and of a disk with 567.89 GB free at ``tmp_path``."""
    disks = {str(tmp_path): 567_890_000_000}
    monkeypatch.setattr(psutil, "cpu_count", lambda: 6)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=12_340_000_000, total=10**12))
    monkeypatch.setattr(psutil, "disk_usage", lambda path: SimpleNamespace(free=disks[path], total=10**15))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {device.index}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (7_770_000_000, 80_000_000_000))
    return tmp_path


def test_a_machine_is_described_by_what_is_free_now(measured: Path) -> None:
    found = machine.describe(site(measured, "cpu"), power_w=150.0)
    assert (found.cores, found.memory_gb, found.disk_gb) == (6, 12.3, 567.9)
    assert (found.gpu, found.gpu_memory_gb, found.power_w, found.study) == ("", 0.0, 150.0, "ab12")
    assert found.torch == torch.__version__


def test_a_card_is_described_where_one_is_used(measured: Path) -> None:
    found = machine.describe(site(measured, "cuda:1"), power_w=0.0)
    assert (found.gpu, found.gpu_memory_gb) == ("Card 1", 7.8)


def test_a_machine_whose_cores_nobody_knows_has_none(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: None)
    assert machine.describe(site(measured, "cpu"), power_w=0.0).cores == 0


def test_free_space_is_that_of_the_disk_that_will_hold_the_folder(tmp_path: Path) -> None:
    expected = shutil.disk_usage(tmp_path).free / 1e9
    for folder in (tmp_path, tmp_path / "not" / "yet" / "there"):
        assert machine.free_disk_gb(folder) == pytest.approx(expected, rel=0.05)  # others write meanwhile


def flags() -> tuple[object, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.enabled,
    )


def test_on_a_card_sums_repeat_in_float32_and_afterwards_all_is_as_it_was() -> None:
    before = flags()
    with machine.repeatable(torch.device("cuda")):
        assert flags() == (True, True, True, False, False, False, True)
    assert flags() == before
    with machine.repeatable(torch.device("cpu")):
        assert flags() == before


@pytest.mark.parametrize(("name", "number"), [("cuda", 3), ("cuda:1", 1)])
def test_a_share_of_a_card_is_that_of_the_one_that_is_used(
    name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch takes no device without its number there, seen on a card."""
    asked: list[tuple[float, object]] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *said: asked.append(said))
    machine.bound_gpu(torch.device(name), 0.25)
    machine.bound_gpu(torch.device("cpu"), 0.25)
    assert asked == [(0.25, number)]
