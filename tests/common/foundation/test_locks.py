"""A lock is held by one at a time, and lost by whoever ends."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from normfed_common.foundation.locks import alone, alone_if_possible, exclusive, is_held

HOLDER = """
import sys
from pathlib import Path
from normfed_common.foundation.locks import alone, alone_if_possible, exclusive, is_held
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def is_free(path: Path) -> bool:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_it_is_held_as_long_as_the_context_and_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path):
        assert not is_free(path)
    assert is_free(path)


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), exclusive(tmp_path / "lock"):
        raise RuntimeError
    assert is_free(tmp_path / "lock")


def test_what_the_lock_file_holds_stays(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("kept")
    with exclusive(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_text() == "kept"


@pytest.mark.parametrize("end", ["leaves", "is killed"])
def test_another_process_holds_it_until_it_ends_however_it_ends(tmp_path: Path, end: str) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not is_free(path)
        if end == "is killed":
            holder.kill()
        else:
            holder.communicate("")
        holder.wait()
    with exclusive(path):
        pass


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    """Each finds nobody inside; with the lock taken away two meet, since all wait for each other at the door."""
    inside: list[int] = []
    met: list[int] = []
    door = threading.Barrier(4)

    def enter(number: int) -> None:
        door.wait()
        for _ in range(50):
            with exclusive(tmp_path / "lock"):
                inside.append(number)
                (tmp_path / "shared").write_text(str(number))
                met.extend(other for other in inside if other != number)
                inside.remove(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_whoever_is_alone_with_a_file_or_folder_keeps_others_out_until_it_leaves(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "there"
    path.mkdir() if kind == "folder" else path.touch()
    assert not is_held(path)
    with alone(path):
        assert is_held(path)
        with pytest.raises(BlockingIOError), alone(path):
            pytest.fail("two are alone")
    assert not is_held(path)
    with pytest.raises(FileNotFoundError), alone(tmp_path / "nowhere"):
        pytest.fail("alone with nothing")


def test_what_a_process_shares_nobody_is_alone_with_until_it_ends(tmp_path: Path) -> None:
    code = "from pathlib import Path; from normfed_common.foundation.locks import share; import sys\n"
    code += "share(Path(sys.argv[1])); print('shared', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "shared\n"
        assert not is_held(tmp_path)
        with pytest.raises(BlockingIOError), alone(tmp_path):
            pytest.fail("alone with what is shared")
        holder.communicate()
    with alone(tmp_path):
        assert is_held(tmp_path)


def test_where_locks_are_possible_nobody_works_beside_who_holds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first leaves only once the second waits, so that one who does not wait would be beside it."""
    first, lock = contextlib.ExitStack(), fcntl.flock
    first.enter_context(alone(tmp_path))
    left = []

    def leave_to_who_waits(handle: int, how: int) -> None:
        if not how & fcntl.LOCK_NB:
            first.close()
            left.append(True)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", leave_to_who_waits)
    with first, alone_if_possible(tmp_path):
        assert left


def test_where_nothing_can_be_locked_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    with alone_if_possible(tmp_path):
        assert is_held(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone_if_possible(tmp_path):
        pass
    with pytest.raises(OSError, match="no locks here"), alone(tmp_path):
        pytest.fail("it is said to be alone")
