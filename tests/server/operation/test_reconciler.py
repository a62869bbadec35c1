"""Runs that are wanted, and what becomes of them whatever dies; the SuperLink is played in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from members import accepted, begun
from rich.console import Console
from run_results import run_results

from normfed_server.operation import reconciler as module
from normfed_server.operation.reconciler import Reconciler
from normfed_server.results import layout
from normfed_server.runs import following, steering
from normfed_server.state import admission
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import State
from normfed_server.state.notes import COORDINATOR, CRASH, LOG, OUTCOME
from normfed_server.superlink import deaths
from normfed_server.superlink.control import FlowerRun


class Flower:
    """A SuperLink's operator interface in memory."""

    def __init__(self) -> None:
        self.registered: dict[bytes, SimpleNamespace] = {}
        self.runs: dict[int, FlowerRun] = {}
        self.stopped: list[int] = []
        self.asked = 0

    def nodes(self) -> dict[bytes, Any]:
        return self.registered

    def register(self, site: str, key: str) -> int:
        from normfed_server.superlink.control import key_bytes

        node = SimpleNamespace(
            node_id=len(self.registered) + 10, status="online", last_activated_at="now", last_deactivated_at=""
        )
        self.registered[key_bytes(key)] = node
        return node.node_id

    def unregister(self, node: int) -> None:
        self.registered = {k: n for k, n in self.registered.items() if n.node_id != node}

    def start(self, run: str) -> int:
        number = len(self.runs) + 100
        self.runs[number] = FlowerRun("running", "")
        return number

    def stop(self, number: int) -> None:
        self.stopped.append(number)
        self.runs[number] = FlowerRun("finished", "")

    def run(self, number: int) -> FlowerRun | None:
        self.asked += 1
        return self.runs.get(number)


@pytest.fixture
def kept(home: ServerHome, tmp_path: Path) -> tuple[Reconciler, Flower, list[str]]:
    said: list[str] = []
    flower = Flower()
    accepted(home, "a", tmp_path)
    return Reconciler(home, lambda: flower, said.append), flower, said  # type: ignore[arg-type, return-value]


def test_sites_are_admitted_and_shut_out_as_the_operator_says(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]]
) -> None:
    look, flower, said = kept
    look.look()
    assert said == ["a: admitted."]
    assert admission.nodes(home) == {"a": 10}
    admission.revoke(home, "a")
    look._nodes_at = -100.0
    look.look()
    assert flower.registered == {}
    assert admission.nodes(home) == {}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deaths, "LONGEST_PAUSE_S", 0.0)


def test_an_open_run_is_started_again_whatever_died(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, flower, said = kept
    name = begun(home, study)
    look.look()
    assert home.ledger.get(name).flower_run == 100
    look.look()
    assert list(flower.runs) == [100]  # it runs: nothing to do
    flower.runs[100] = FlowerRun("finished", "no heartbeat")
    look.look()
    look.look()
    assert list(flower.runs) == [100, 101]
    (home.runs / name / COORDINATOR).write_text(json.dumps({"pid": os.getpid(), "began": 1.0, "flower_run": 101}))
    look.look()  # its process is gone, another has its number, and Flower has not noticed yet
    assert flower.stopped == [101]
    look.look()
    assert list(flower.runs) == [100, 101, 102]
    assert "going on from the last round" in said[-1]


def test_flower_is_asked_about_a_run_that_lives_six_times_a_minute(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, flower, _ = kept
    begun(home, study)
    look.look()
    now_s = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(deaths, "worker", lambda folder, flower_run: os.getpid())
    for _ in range(60):
        look.look()
        now_s[0] += 1.0
    assert flower.asked == 6


def test_a_run_whose_process_fails_again_and_again_is_given_up_with_its_error(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, flower, _ = kept
    name = begun(home, study)
    ledger = home.ledger
    for _ in range(3 * deaths.CRASHES):
        look.look()
        number = ledger.get(name).flower_run
        crash = {"flower_run": number, "lost": False, "why": "SafetensorError: header too large"}
        (home.runs / name / CRASH).write_text(json.dumps(crash))
        flower.runs = {number: FlowerRun("finished", "") for number in flower.runs}
    entry = ledger.get(name)
    assert entry.state is State.FAILED
    assert f"failed {deaths.CRASHES} times in the same round" in entry.why
    assert "SafetensorError: header too large" in entry.why
    assert len(flower.runs) == deaths.CRASHES
    steering.resume(home, name)
    look.look()
    assert len(flower.runs) == deaths.CRASHES + 1


def killed_process() -> dict[str, Any]:
    """A child that was killed and that nobody reaps, as Flower's executor leaves them."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    began = psutil.Process(process.pid).create_time()
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    LEFT.append(process)
    return {"pid": process.pid, "began": began}


LEFT: list[subprocess.Popen[bytes]] = []


def test_kills_in_quick_succession_do_not_end_a_run_and_the_log_says_what_happened(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, _, said = kept
    name = begun(home, study)
    ledger, child = home.ledger, killed_process()
    kills = 2 * deaths.CRASHES
    for _ in range(kills):
        look.look()
        coordinator = {**child, "flower_run": ledger.get(name).flower_run}
        (home.runs / name / COORDINATOR).write_text(json.dumps(coordinator))
        look.look()
    assert ledger.get(name).state is State.OPEN
    assert "was killed by signal 9 (SIGKILL)" in said[-1]
    log = (home.runs / name / LOG).read_text().splitlines()
    assert len(log) == kills
    assert f"was killed by signal 9 (SIGKILL) (death {kills} in the same round)" in log[-1]
    LEFT.pop().wait()  # reaped: nothing is known any more but that it is gone
    assert "is gone without a word" in deaths.cause(home.runs / name, coordinator["flower_run"], "").how


def test_who_follows_a_run_reads_that_its_process_died(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    look, flower, _ = kept
    name = begun(home, study)
    look.look()
    flower.runs = {100: FlowerRun("finished", "no [heartbeat]")}
    look.look()

    class Shown:
        def __init__(self) -> None:
            self.notes: list[str] = []

        def event(self, event: dict[str, Any]) -> None: ...

        def note(self, text: str) -> None:
            self.notes.append(text)
            steering.stop(home, name)

    shown = Shown()
    assert following.follow(home, name, shown).state is State.STOPPED
    assert "no [heartbeat]" in shown.notes[0]
    following.Live(Console()).note(shown.notes[0])
    assert "[heartbeat]" in capsys.readouterr().out
    look.look()
    look.look()
    steering.resume(home, name)
    look.look()
    assert home.ledger.get(name).why == ""  # it runs again


def test_a_run_that_is_killed_without_end_is_given_up_with_that_word(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, flower, _ = kept
    name = begun(home, study)
    for _ in range(3 * deaths.KILLS):
        look.look()
        flower.runs = {number: FlowerRun("finished", "no heartbeat") for number in flower.runs}
    entry = home.ledger.get(name)
    assert entry.state is State.FAILED
    assert f"ended from outside {deaths.KILLS} times in the same round" in entry.why
    assert "no heartbeat" in entry.why
    assert len(flower.runs) == deaths.KILLS


def test_a_run_that_breaks_the_reconciler_does_not_keep_it_from_the_others(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any
) -> None:
    look, _, said = kept
    broken, sound = begun(home, study), begun(home, study)
    (home.runs / broken / OUTCOME).write_text('{"neither": "state nor why"}')
    for _ in range(3):
        look.look()
    assert home.ledger.get(sound).flower_run == 100
    assert len([text for text in said if broken in text]) == 1  # said once, not at every look
    (home.runs / broken / OUTCOME).write_text(json.dumps({"state": "failed", "why": "Site b refuses."}))
    look.look()
    assert home.ledger.get(broken).state is State.FAILED


def test_a_refusal_of_flowers_over_one_run_does_not_keep_the_reconciler_from_the_others(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, flower, _ = kept
    refused, sound = begun(home, study), begun(home, study)
    start = flower.start

    def starts(run: str) -> int:
        if run == refused:
            raise httpx.HTTPStatusError("500", request=httpx.Request("POST", "http://f"), response=httpx.Response(500))
        return start(run)

    monkeypatch.setattr(flower, "start", starts)
    look.look()
    assert home.ledger.get(sound).flower_run == 100


def test_figures_that_cannot_be_read_end_a_run_with_a_sentence(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any
) -> None:
    look, _, said = kept
    name = begun(home, study)
    (home.runs / name / OUTCOME).write_text(json.dumps({"state": "finished", "why": ""}))
    (home.runs / name / "metrics.json").write_text('{"miss')
    look.look()
    assert home.ledger.get(name).state is State.FAILED
    assert "metrics.json cannot be read" in said[-1]


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "gone"])
def test_a_damaged_list_of_runs_is_made_again_from_its_copy(
    home: ServerHome,
    kept: tuple[Reconciler, Flower, list[str]],
    study: Any,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    first, second = begun(home, study), begun(home, study)
    ledger = home.ledger
    ledger.running(first, 2**63 + 5)
    ledger.set(second, State.STOPPED, "by the operator")
    before = ledger.all()
    break_list(home, damage)
    assert home.ledger.all() == before
    assert "made again from its copy runs.json" in caplog.text
    assert [path.exists() for path in home.folder.glob("runs.sqlite.damaged-*")] == [True] * (damage != "gone")
    ledger.set(second, State.OPEN)  # whoever had it open goes on with the new one
    assert home.ledger.get(second).state is State.OPEN


def break_list(home: ServerHome, damage: str) -> None:
    path = home.folder / "runs.sqlite"
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    if damage == "gone":
        path.unlink()
    else:
        content = {"garbage": b"\xff" * 8192, "empty": b"", "cut": path.read_bytes()[:1500]}[damage]
        path.write_bytes(content)


def test_a_list_of_runs_without_a_copy_is_made_again_from_the_run_folders(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, caplog: pytest.LogCaptureFixture
) -> None:
    look, flower, _ = kept
    names = [begun(home, study) for _ in range(3)]
    look.look()
    for name, number in zip(names, flower.runs, strict=True):
        (home.runs / name / COORDINATOR).write_text(json.dumps({"pid": 1, "began": 0.0, "flower_run": number}))
    (home.runs / names[1] / OUTCOME).write_text(json.dumps({"state": "failed", "why": "Site b refuses."}))
    (home.runs / names[2] / OUTCOME).write_text(json.dumps({"state": "finished", "why": ""}))
    layout.write(home.runs / names[2], run_results([{}] * 4, missing={"federated": {"d": [3]}}))
    break_list(home, "garbage")
    (home.folder / "runs.json").write_text("[{")
    ledger = home.ledger
    assert [entry.name for entry in ledger.all()] == names
    assert "made again from the run folders" in caplog.text
    look.look()  # settles the one that had finished, and stops what Flower still runs and nobody is known to want
    states = [(entry.state, entry.flower_run) for entry in ledger.all()]
    assert states == [(State.STOPPED, None), (State.FAILED, None), (State.PARTIAL, None)]
    assert ledger.get(names[1]).why == "Site b refuses."
    assert flower.stopped == [next(iter(flower.runs))]


def test_a_run_that_stopped_on_something_to_mend_waits_for_the_operator(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any
) -> None:
    look, flower, said = kept
    name = begun(home, study)
    look.look()
    (home.runs / name / OUTCOME).write_text(json.dumps({"state": "failed", "why": "Site b refuses."}))
    look.look()
    assert home.ledger.get(name).state is State.FAILED
    assert said[-1] == f"{name}: stopped. Site b refuses."
    look.look()
    assert len(flower.runs) == 1
    steering.resume(home, name)
    assert not (home.runs / name / OUTCOME).exists()
