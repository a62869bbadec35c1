"""What the list of runs remembers of each, whoever writes it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from normfed_common.foundation.errors import RunError
from normfed_server.state import ledger as module
from normfed_server.state.ledger import Entry, Ledger, State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.sqlite"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    found = Ledger(path)
    found.add("r")
    return found


def test_a_new_run_is_wanted_runs_nowhere_and_knows_when_it_began(path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    Ledger(path).add("r")
    entry = Ledger(path).get("r")
    assert (entry.name, entry.state, entry.flower_run, entry.why) == ("r", State.OPEN, None, "")
    assert before <= datetime.fromisoformat(entry.created) <= datetime.now(UTC)


def test_runs_are_listed_in_the_order_in_which_they_began(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(["2026-01-02", "2026-01-01", "2026-01-01", "2026-01-03"])
    monkeypatch.setattr(module, "_now", lambda: next(times))
    ledger = Ledger(path)
    for name in ("second", "zero", "first", "last"):
        ledger.add(name)
    assert [entry.name for entry in ledger.all()] == ["zero", "first", "second", "last"]


def test_a_name_is_taken_once(ledger: Ledger) -> None:
    ledger.set("r", State.FAILED, "full disk")
    with pytest.raises(sqlite3.IntegrityError):
        ledger.add("r")
    assert [(entry.state, entry.why) for entry in ledger.all()] == [(State.FAILED, "full disk")]


def test_who_asks_for_a_run_that_is_not_there_reads_which_ones_are(path: Path) -> None:
    ledger = Ledger(path)
    with pytest.raises(RunError, match=r"No run is called r\. Runs: none yet\."):
        ledger.get("r")
    ledger.add("a")
    ledger.add("b")
    with pytest.raises(RunError, match=r"No run is called r\. Runs: a, b\."):
        ledger.get("r")


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_any_state_follows_any_other_and_only_its_own_reason_stays(ledger: Ledger, before: State, after: State) -> None:
    ledger.running("r", 7)
    ledger.set("r", before, "one reason")
    ledger.set("r", after)
    entry = ledger.get("r")
    assert (entry.state, entry.why, entry.flower_run) == (after, "", 7)  # whether Flower runs it is said by Flower


@pytest.mark.parametrize("state", State)
def test_an_interruption_is_said_of_a_run_that_is_wanted_and_of_no_other(ledger: Ledger, state: State) -> None:
    ledger.set("r", state, "as it ended")
    ledger.interrupted("r", "its process died")
    assert ledger.get("r").why == ("its process died" if state is State.OPEN else "as it ended")
    assert ledger.get("r").state is state


@pytest.mark.parametrize("state", State)
def test_flower_starting_and_ending_a_run_changes_nothing_of_what_is_wanted(ledger: Ledger, state: State) -> None:
    ledger.set("r", state, "a reason")
    ledger.running("r", 7)
    entry = ledger.get("r")
    assert (entry.state, entry.flower_run, entry.why) == (state, 7, "")
    ledger.set("r", state, "a reason")
    ledger.ended("r")
    entry = ledger.get("r")
    assert (entry.state, entry.flower_run, entry.why) == (state, None, "a reason")


@pytest.mark.parametrize(
    "change",
    [
        lambda ledger: ledger.running("r", 8),
        lambda ledger: ledger.interrupted("r", "its process died"),
        lambda ledger: ledger.ended("r"),
        lambda ledger: ledger.set("r", State.PARTIAL, "without d"),
    ],
    ids=["running", "interrupted", "ended", "set"],
)
def test_a_change_of_one_run_is_none_of_another(ledger: Ledger, change: Callable[[Ledger], None]) -> None:
    ledger.add("other")
    ledger.running("other", 9)
    ledger.interrupted("other", "its own reason")
    before = ledger.get("other")
    ledger.running("r", 7)
    change(ledger)
    assert ledger.get("other") == before


@pytest.mark.parametrize("number", [0, 1, 2**63, 2**64 - 1])
def test_flowers_numbers_of_64_bits_come_back_whole(ledger: Ledger, path: Path, number: int) -> None:
    """SQLite's own integers end at 2^63 - 1."""
    ledger.running("r", number)
    assert Ledger(path).get("r").flower_run == number
    path.unlink()
    assert Ledger(path).get("r").flower_run == number  # from the copy


def test_the_copy_beside_the_list_says_the_same_after_every_change(ledger: Ledger, path: Path) -> None:
    changes: list[Callable[[], None]] = [
        lambda: ledger.add("other"),
        lambda: ledger.running("r", 7),
        lambda: ledger.interrupted("r", "its process died"),
        lambda: ledger.ended("r"),
        lambda: ledger.set("other", State.FAILED, "a full disk"),
    ]
    for change in changes:
        change()
        copied = json.loads(path.with_suffix(".json").read_text())
        assert [Entry(**{**entry, "state": State(entry["state"])}) for entry in copied] == ledger.all()


def test_a_copy_that_cannot_be_written_ends_no_run(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    ledger.set("r", State.FINISHED)
    assert Ledger(path).get("r").state is State.FINISHED


def test_a_state_that_no_run_can_have_is_damage(ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger.set("r", State.STOPPED, "by the operator")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE runs SET state = 'opem'")
    assert [(entry.name, entry.state) for entry in ledger.all()] == [("r", State.STOPPED)]
    assert "is damaged ('opem' is not a valid State), and was set aside" in caplog.text


def test_a_list_that_is_busy_is_not_taken_for_a_damaged_one(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda where, timeout: connect(where, timeout=0.01))
    with contextlib.closing(connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            ledger.set("r", State.FAILED)
        other.execute("ROLLBACK")
    assert not list(path.parent.glob("*.damaged-*"))
    assert ledger.get("r").state is State.OPEN


@pytest.mark.parametrize("copy", ['[{"name": "r"}]', '{"r": 1}', "[1]", '[{"name": "r", "created": "", "state": "x"}]'])
def test_a_copy_that_is_no_list_of_runs_gives_way_to_the_folders(ledger: Ledger, path: Path, copy: str) -> None:
    for name in ("b", "a"):
        (path.parent / "runs" / name).mkdir(parents=True)
        (path.parent / "runs" / name / "study.yaml").touch()
        os.utime(path.parent / "runs" / name / "study.yaml", (86_400, 86_400))
    (path.parent / "runs" / "no run").mkdir()
    path.with_suffix(".json").write_text(copy)
    path.unlink()
    lost = "the list of runs was lost"
    born = "1970-01-02T00:00:00+00:00"
    assert ledger.all() == [Entry(name, born, State.STOPPED, None, lost) for name in ("a", "b")]


def test_nothing_is_said_where_there_was_no_run_to_lose(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Ledger(path).all() == []
    assert not caplog.text


def write(path: Path, writer: int) -> None:
    """What a second process of the server does, through a ledger of its own."""
    ledger = Ledger(path)
    for number in range(WRITTEN):
        ledger.add(f"{writer}-{number}")
        ledger.running(f"{writer}-{number}", number)


WRITTEN = 8


def test_two_processes_that_write_at_the_same_time_lose_nothing(path: Path) -> None:
    """They begin together, also with making the list."""
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        for job in [pool.submit(write, path, writer) for writer in range(2)]:
            job.result()
    expected = {f"{writer}-{number}": number for writer in range(2) for number in range(WRITTEN)}
    assert {entry.name: entry.flower_run for entry in Ledger(path).all()} == expected
    assert {row["name"]: row["flower_run"] for row in json.loads(path.with_suffix(".json").read_text())} == expected


def test_threads_that_find_the_same_damage_make_the_list_again_once(ledger: Ledger, path: Path) -> None:
    before = ledger.all()
    path.write_bytes(b"\xff" * 4096)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Ledger(path).all(), range(8)))
    assert found == [before] * 8
    assert len([kept for kept in path.parent.glob("*.damaged-*") if kept.suffix.startswith(".damaged")]) == 1


def test_a_list_that_was_not_made_again_to_the_end_is_made_again_by_the_next(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty list would be believed, and the next change would empty the copy too."""
    before = ledger.all()
    path.write_bytes(b"\xff" * 4096)
    with monkeypatch.context() as dies:
        dies.setattr(module, "COLUMNS", "name, created, state, flower_run, no_such_column")
        with pytest.raises(sqlite3.OperationalError):
            ledger._restore("is damaged")
    assert Ledger(path).all() == before
