"""A folder of links is there whole or not at all, also under kill -9 and when several processes make it at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from normfed_common.foundation.errors import DatasetError
from normfed_simulation.link_folders import MAKING, make

SIGN = "table.tsv"
# Makes a folder, and waits within for as many others as the last argument says.
SCRIPT = """
import sys, time
from pathlib import Path
from normfed_simulation.link_folders import make
root, mine, others = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def fill(folder):
    (folder / "link").symlink_to("/")
    (root.parents[1] / f"begun-{mine}").touch()
    while len(list(root.parents[1].glob("begun-*"))) < others:
        time.sleep(0.005)
    (folder / "table.tsv").write_text(mine)
make(root, fill, "table.tsv")
"""


def fill(folder: Path) -> None:
    (folder / "link").symlink_to("/")
    (folder / SIGN).write_text("here")


def begin(root: Path, mine: int, others: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(root), str(mine), str(others)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "whole"


def test_what_a_killed_process_was_making_is_not_there_and_is_made_by_the_next(root: Path, tmp_path: Path) -> None:
    process = begin(root, 1, 99)
    while not (tmp_path / "begun-1").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    (left,) = root.parent.iterdir()
    assert left.name.startswith(MAKING)
    make(root, fill, SIGN)
    assert (root / SIGN).read_text() == "here"
    assert set(root.parent.iterdir()) == {root, left}


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_make_the_same_folder_at_the_same_time_leave_one_and_all_go_on(
    root: Path, damaged: bool
) -> None:
    if damaged:
        root.mkdir(parents=True)
        (root / "link").symlink_to("/nowhere")
    processes = [begin(root, number, 3) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert {path.name for path in root.iterdir()} == {"link", SIGN}
    assert (root / SIGN).read_text() in ("0", "1", "2")
    assert (root / "link").resolve() == Path("/")
    assert not list(root.parent.glob(f"{MAKING}*"))


def test_a_whole_folder_is_never_taken_away(root: Path) -> None:
    make(root, fill, SIGN)
    before = root.stat().st_ino
    make(root, fill, SIGN)
    assert root.stat().st_ino == before
    assert [path.name for path in root.parent.iterdir()] == [root.name]


def test_where_no_folder_can_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file: links cannot be made there \(.*\)\. Choose another cache folder"):
        make(tmp_path / "file" / "whole", fill, SIGN)


def test_what_cannot_be_filled_leaves_nothing(root: Path) -> None:
    def failing(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(root, failing, SIGN)
    assert not list(root.parent.iterdir())
