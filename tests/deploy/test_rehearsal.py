"""A rehearsal whose server or site does not come up says so, and does not wait for what has ended."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from normfed_common.foundation.errors import RunError
from normfed_deploy import rehearsal
from normfed_deploy.rehearsal import Rehearsal

BROKEN = "import sys; print('first'); sys.exit('No module named x')"
SLEEPS = "import time; time.sleep(60)"


@pytest.fixture
def made(tmp_path: Path) -> Rehearsal:
    data = tmp_path / "data"
    data.mkdir()
    return Rehearsal(tmp_path / "federation", data, {"north": ("north",), "south": ("south",)})


def _interpreter(path: Path, code: str) -> str:
    """An interpreter that runs this code whatever it is told to run."""
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    path.chmod(0o755)
    return str(path)


def _ended(made: Rehearsal, what: str, code: str = BROKEN) -> None:
    made.start(what, command=[sys.executable, "-c", code])
    made._processes[what].wait(30)


def test_a_server_that_ends_at_once_is_not_waited_for(made: Rehearsal, tmp_path: Path) -> None:
    made.pythons["server"] = _interpreter(tmp_path / "python", BROKEN)
    out = made.folder / "server.out"
    with pytest.raises(RunError, match=re.escape(f"server ended with code 1; the last line of {out} is: No module")):
        made.up().__enter__()
    assert made.pid("server") is None  # nothing of it stays


def test_a_server_that_never_listens_is_an_error(
    made: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "UP_S", 0.5)
    made.pythons["server"] = _interpreter(tmp_path / "python", SLEEPS)
    with pytest.raises(RunError, match="The server did not listen within"):
        made.up().__enter__()


def test_a_site_that_ended_is_not_waited_for(made: Rehearsal) -> None:
    _ended(made, "north", "raise SystemExit(3)")
    begin = time.monotonic()
    with pytest.raises(RunError, match=r"north ended with code 3; the last line of .*north\.out is: nothing"):
        made.wait_for_sites(["north", "south"])
    assert time.monotonic() - begin < 60


def test_a_site_that_was_started_again_or_stopped_is_waited_for(made: Rehearsal) -> None:
    _ended(made, "north")
    made.start("north", command=[sys.executable, "-c", SLEEPS])
    _ended(made, "south")
    made.stop("south")
    with pytest.raises(RunError, match="north, south did not connect within"):
        made.wait_for_sites(["north", "south"], within_s=0.5)
    made.stop("north")


def test_sites_are_waited_for_while_the_server_is_down(made: Rehearsal) -> None:
    _ended(made, "server")
    with pytest.raises(RunError, match="north did not connect within"):
        made.wait_for_sites(["north"], within_s=0.5)
