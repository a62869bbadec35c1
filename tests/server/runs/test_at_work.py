"""Who works on a run, seen from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from normfed_common.foundation.errors import RunError
from normfed_server.runs.at_work import LOCKED, at_work, is_at_work

WORKER = """\
import sys
from pathlib import Path
from normfed_server.runs.at_work import at_work
with at_work(Path(sys.argv[1])):
    print("at work", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / LOCKED).touch()
    return tmp_path


def test_a_process_that_is_killed_works_no_more(run: Path) -> None:
    assert not is_at_work(run)
    command = [sys.executable, "-c", WORKER, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        assert is_at_work(run)
        process.kill()
        process.wait()
        assert not is_at_work(run)
    assert [path.name for path in run.iterdir()] == [LOCKED]


def test_one_works_on_a_run_and_another_is_refused(run: Path) -> None:
    with at_work(run):
        with pytest.raises(RunError, match="another process is working on it"), at_work(run):
            pass
        assert is_at_work(run)
    assert not is_at_work(run)
    with at_work(run):  # whose turn it is afterwards
        assert is_at_work(run)


def test_nobody_works_on_a_run_that_is_gone(tmp_path: Path) -> None:
    assert not is_at_work(tmp_path / "gone")
