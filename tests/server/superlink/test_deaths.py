"""How deaths are told apart, counted, and when they are too many."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_server.state.notes import COORDINATOR, CRASH, DEATHS, LOG
from normfed_server.superlink import deaths
from normfed_server.superlink.deaths import CRASHES, KILLS, Death, Deaths

CRASHED, KILLED = Death(True, "failed with ValueError: x"), Death(False, "was killed")


def progress(folder: Path, arm: str, at_ns: int) -> None:
    """The run wrote a model at this time."""
    path = folder / "arms" / arm / "progress.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, ns=(at_ns, at_ns))


def works(folder: Path, pid: int, began: float, flower_run: int = 7) -> None:
    (folder / COORDINATOR).write_text(json.dumps({"pid": pid, "began": began, "flower_run": flower_run}))


@given(st.integers(0, 20), st.integers(0, 90))
def test_a_run_is_given_up_after_six_errors_of_ours_or_sixty_kills(crashes: int, kills: int) -> None:
    assert (CRASHES, KILLS) == (6, 60)
    assert Deaths(crashes, kills).too_many == (crashes > 5 or kills > 59)


@given(st.integers(0, CRASHES), st.integers(0, KILLS))
def test_pauses_double_up_to_ten_minutes_whoever_killed(crashes: int, kills: int) -> None:
    count, pause = crashes + kills, 0.0
    for number in range(2, min(count, 40) + 1):
        pause = 2.0 if number == 2 else min(2 * pause, 600.0)
    assert Deaths(crashes, kills).pause_s == pause


def test_errors_and_kills_are_counted_apart_and_written_down(tmp_path: Path) -> None:
    for death in (KILLED, CRASHED, KILLED):
        counted = deaths.count(tmp_path, death)
    assert (counted.crashes, counted.kills) == (1, 2)
    assert json.loads((tmp_path / DEATHS).read_text()) == {"crashes": 1, "kills": 2, "newest": 0}
    assert [line.rsplit("(")[-1] for line in (tmp_path / LOG).read_text().splitlines()] == [
        f"death {number} in the same round)" for number in (1, 2, 3)
    ]


def test_a_model_of_any_arm_that_was_written_since_begins_the_count_anew(tmp_path: Path) -> None:
    progress(tmp_path, "federated", 5)
    progress(tmp_path, "ditto", 9)
    assert deaths.count(tmp_path, CRASHED) == Deaths(1, 0, 9)
    progress(tmp_path, "federated", 8)  # older than the newest: nothing further was reached
    assert deaths.count(tmp_path, CRASHED) == Deaths(2, 0, 9)
    progress(tmp_path, "federated", 10)
    assert deaths.count(tmp_path, KILLED) == Deaths(0, 1, 10)


def test_a_count_that_is_damaged_begins_anew(tmp_path: Path) -> None:
    (tmp_path / DEATHS).write_text('{"crashes": ')
    assert deaths.count(tmp_path, CRASHED) == Deaths(1, 0, 0)


def test_a_full_disk_does_not_keep_a_death_from_being_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deaths, "write_json", full)
    monkeypatch.setattr("builtins.open", full)
    assert deaths.count(tmp_path, KILLED) == Deaths(0, 1, 0)


def test_the_log_reads_as_if_the_runs_own_process_had_written_it(tmp_path: Path) -> None:
    deaths.log(tmp_path, "one")
    deaths.log(tmp_path, "two")
    first, second = (tmp_path / LOG).read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,000 ERROR reconciler: one", first)
    assert second.endswith("reconciler: two")


@pytest.mark.parametrize(
    ("counted", "why"),
    [
        (Deaths(CRASHES, 0), "its process on this server failed 6 times in the same round; last it was killed. See"),
        (Deaths(CRASHES, KILLS), "its process on this server failed 6 times in the same round; last"),
        (Deaths(1, KILLS), "its process on this server was ended from outside 60 times in the same round (if the"),
    ],
)
def test_why_a_run_is_given_up_says_how_often_how_last_and_what_to_do(
    tmp_path: Path, counted: Deaths, why: str
) -> None:
    found = deaths.sentence(tmp_path / "r", counted, KILLED)
    assert found.startswith(why)
    assert found.endswith(f"last it was killed. See {tmp_path / 'r' / LOG}; then: normfed server resume r")
    assert ("`dmesg`" in found) == (counted.crashes < CRASHES)


@pytest.mark.parametrize(("lost", "crashed"), [(False, True), (True, False)])
def test_an_error_that_was_written_down_is_ours_unless_the_superlink_was_lost(
    tmp_path: Path, lost: bool, crashed: bool
) -> None:
    (tmp_path / CRASH).write_text(json.dumps({"flower_run": 7, "lost": lost, "why": "ValueError: x"}))
    assert deaths.cause(tmp_path, 7, "no heartbeat") == Death(crashed, "failed with ValueError: x")


def test_an_error_of_an_earlier_flower_run_says_nothing_of_this_one(tmp_path: Path) -> None:
    (tmp_path / CRASH).write_text(json.dumps({"flower_run": 6, "lost": False, "why": "ValueError: x"}))
    works(tmp_path, os.getpid(), psutil.Process().create_time(), flower_run=6)
    assert deaths.cause(tmp_path, 7, "") == Death(False, "ended before it began to work; log/executor.log may say more")


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (0, "ended with exit code 0, without an error"),
        (3 << 8, "ended with exit code 3, without an error"),
        (255 << 8, "ended with exit code 255, without an error"),
        (signal.SIGKILL, "was killed by signal 9 (SIGKILL)"),
        (signal.SIGSEGV | 0x80, "was killed by signal 11 (SIGSEGV)"),  # 0x80: it left a core
        (40, "was killed by signal 40"),  # one of those for real-time programs
        (None, "is gone without a word: killed, or its machine went down"),
    ],
)
def test_an_end_is_read_as_waitpid_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, how: str
) -> None:
    works(tmp_path, 2**22 + 1, 0.0)
    monkeypatch.setattr(deaths, "_exit_code", lambda *_: code)
    if code is not None:  # as Python reads it: a signal is negative
        (number,) = re.findall(r"(?:signal|code) (\d+)", how)
        assert abs(os.waitstatus_to_exitcode(code)) == int(number)
    assert deaths.cause(tmp_path, 7, "") == Death(False, how)


def test_a_process_is_a_runs_own_only_with_its_birth_and_its_flower_run(tmp_path: Path) -> None:
    mine = psutil.Process()
    assert deaths.worker(tmp_path, 7) is None
    assert not deaths.is_dead(tmp_path, 7)  # it did not begin yet
    works(tmp_path, mine.pid, mine.create_time())
    assert deaths.worker(tmp_path, 7) == mine
    assert not deaths.is_dead(tmp_path, 7)
    assert deaths.worker(tmp_path, 8) is None
    assert not deaths.is_dead(tmp_path, 8)  # the file is of the one before it
    works(tmp_path, mine.pid, mine.create_time() - 1)
    assert deaths.worker(tmp_path, 7) is None  # another that has its number
    assert deaths.is_dead(tmp_path, 7)
    works(tmp_path, 2**22 + 1, 0.0)  # no process has this number
    assert deaths.is_dead(tmp_path, 7)


@pytest.mark.parametrize("name", ["plain", "a) 7 (b", "((("])
def test_the_kernels_exit_code_is_found_behind_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """proc(5): field 2 is the name in brackets, which may hold blanks and brackets itself; field 52 is the code."""
    line = f"1 ({name}) " + " ".join(str(field) for field in range(3, 53))
    monkeypatch.setattr(deaths, "_process", lambda *_: psutil.Process())
    monkeypatch.setattr(deaths.Path, "read_text", lambda _: line)
    assert deaths._exit_code(tmp_path, 7) == 52


def test_other_ends_of_a_runs_process_are_told_apart(tmp_path: Path) -> None:
    def note(pid: int, began: float) -> None:
        (tmp_path / COORDINATOR).write_text(json.dumps({"pid": pid, "began": began, "flower_run": 7}))

    assert "ended before it began to work (Flower: no such module)" in deaths.cause(tmp_path, 7, "no such module").how
    note(os.getpid(), psutil.Process().create_time())
    assert "lost touch with the SuperLink" in deaths.cause(tmp_path, 7, "no heartbeat").how
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    note(child.pid, psutil.Process(child.pid).create_time())
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert "ended with exit code 3" in deaths.cause(tmp_path, 7, "").how
    child.wait()
    (tmp_path / CRASH).write_text(json.dumps({"flower_run": 7, "lost": True, "why": "ConnectError: refused"}))
    assert deaths.cause(tmp_path, 7, "") == deaths.Death(False, "failed with ConnectError: refused")


def test_pauses_between_deaths_grow_and_progress_forgets_them(tmp_path: Path) -> None:
    killed = deaths.Death(False, "was killed")
    pauses = [deaths.count(tmp_path, killed).pause_s for _ in range(5)]
    assert pauses == [0, 2, 4, 8, 16]
    assert deaths.Deaths(kills=50).pause_s == deaths.LONGEST_PAUSE_S
    (tmp_path / "arms" / "federated").mkdir(parents=True)
    (tmp_path / "arms" / "federated" / "progress.safetensors").write_bytes(b"a round more")
    assert deaths.count(tmp_path, killed).pause_s == 0


def test_a_death_by_a_signal_without_a_name_is_described() -> None:
    assert deaths._signal(9) == "signal 9 (SIGKILL)"
    assert deaths._signal(35) == "signal 35"
