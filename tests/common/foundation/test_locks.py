"""A lock is held by one at a time, and lost by whoever ends."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from normfed_common.foundation.locks import exclusive

HOLDER = """
import sys
from pathlib import Path
from normfed_common.foundation.locks import exclusive
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
