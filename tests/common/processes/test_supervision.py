"""Keeping processes running: what ends is started again, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from normfed_common.foundation.errors import UserError
from normfed_common.processes import supervision as processes
from normfed_common.processes.supervision import Service, Supervisor, is_running, only_one, read_services

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(100)")


def until(condition: Callable[[], object], within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(processes, "HEALTH_EVERY_S", 0.1)
    monkeypatch.setattr(processes, "UNWELL_S", 0.5)


def supervised(folder: Path, service: Service, look: Callable[[list[str]], None]) -> list[str]:
    """Run one service on a thread's clock; ``look`` disturbs it meanwhile."""
    said: list[str] = []
    stop = threading.Event()
    failed: list[Exception] = []

    def disturb() -> None:
        try:
            look(said)
        except Exception as error:  # noqa: BLE001  (raised again below, in the test's own thread)
            failed.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=disturb)
    thread.start()
    Supervisor([service], folder, said.append).run(stop)
    thread.join()
    if failed:
        raise failed[0]
    return said


def pid(folder: Path) -> int | None:
    found: int | None = read_services(folder).get("s", {}).get("pid")
    return found


def test_what_is_killed_is_started_again_and_ends_with_its_supervisor(tmp_path: Path, quick: None) -> None:
    pids: list[int] = []

    def kill(said: list[str]) -> None:
        until(lambda: pid(tmp_path) and "up" in (tmp_path / "s.log").read_text())
        pids.append(pid(tmp_path) or 0)
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: pid(tmp_path) not in (None, pids[0]))
        pids.append(pid(tmp_path) or 0)
        until(lambda: (tmp_path / "s.log").read_text().count("up") == 2)

    said = supervised(tmp_path, Service("s", SLEEPER), kill)
    assert said == ["s: ended (killed by signal 9); starting again in 0 s."]
    assert not any(psutil.pid_exists(number) for number in pids)
    assert read_services(tmp_path)["s"]["restarts"] == 1


def test_what_does_not_answer_is_started_again(tmp_path: Path, quick: None) -> None:
    service = Service("s", SLEEPER, healthy=lambda: False)
    said = supervised(tmp_path, service, lambda said: until(lambda: len(said) >= 1))
    assert "no answer for" in said[0]


def test_what_needs_a_file_is_started_again_when_it_changes(tmp_path: Path, quick: None) -> None:
    needed = tmp_path / "certificate"
    needed.write_text("old")

    def change(said: list[str]) -> None:
        until(lambda: pid(tmp_path))
        first = pid(tmp_path)
        needed.write_text("new")
        until(lambda: pid(tmp_path) not in (None, first))

    said = supervised(tmp_path, Service("s", SLEEPER, needs=(needed,)), change)
    assert said == ["s: starting again, its files changed."]


def test_a_supervisor_that_is_killed_takes_its_processes_with_it(tmp_path: Path) -> None:
    import subprocess

    script = (
        "import sys, threading; from pathlib import Path\n"
        "from normfed_common.processes.supervision import Service, Supervisor\n"
        f"Supervisor([Service('s', {SLEEPER!r})], Path({str(tmp_path)!r}), print).run(threading.Event())"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    until(lambda: pid(tmp_path))
    child = pid(tmp_path)
    parent.kill()
    parent.wait()
    until(lambda: child is not None and not psutil.pid_exists(child))


def test_one_folder_is_served_once(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with only_one(tmp_path, "this server"):
        assert is_running(tmp_path)
        with pytest.raises(UserError, match="this server is running already"), only_one(tmp_path, "this server"):
            pass
    assert not is_running(tmp_path)


@pytest.mark.parametrize(
    ("worked", "ended"),
    [
        ([0.1 * n for n in range(300)], None),  # starved: a tenth of a second of work in ten
        ([0.0] * 300, 70.0),  # it hangs
        ([5.0] * 300, 80.0),  # it hung at once after it began
        ([9.9 * n for n in range(300)], 140.0),  # it works for ever, and never answers
    ],
)
def test_a_process_that_comes_up_slowly_is_ended_by_its_own_work_and_not_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worked: list[float], ended: float | None
) -> None:
    looks = iter(worked)
    process = SimpleNamespace(
        status=lambda: "running",
        children=lambda recursive: [],
        cpu_times=lambda: SimpleNamespace(user=next(looks), system=0.0),
    )
    monkeypatch.setattr(processes.psutil, "Process", lambda _: process)
    running = processes._Running(Service("s", ["true"], healthy=lambda: False), tmp_path)
    running.process = SimpleNamespace(pid=1)  # type: ignore[assignment]
    found = next((10.0 * n for n in range(1, 200) if running._unwell(10.0 * n)), None)
    assert found == ended


def test_a_process_that_answered_once_and_then_no_more_is_ended_however_much_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True])
    running = processes._Running(Service("s", ["true"], healthy=lambda: next(answers, False)), tmp_path)
    monkeypatch.setattr(processes._Running, "_stopped", lambda _: False)
    assert next(10.0 * n for n in range(1, 12) if running._unwell(10.0 * n)) == 80.0
