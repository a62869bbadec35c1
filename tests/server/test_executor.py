"""What starts a run's process on the server: the token goes in unseen."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from normfed_server.state.folder import ServerConfig, create
from normfed_server.superlink.executor import Executor

TOKEN = "5ec7e7" * 10
TELLING = """
import json, os, sys
from pathlib import Path
seen = {
    "cmdline": Path("/proc/self/cmdline").read_bytes().decode(),
    "environment": Path("/proc/self/environ").read_bytes().decode(),
    "input": sys.stdin.read(),
    "executor": int(sys.argv[2]),
    "open": len(os.listdir("/proc/self/fd")),
}
Path(sys.argv[1]).write_text(json.dumps(seen))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_runs_token_goes_through_a_pipe_and_nowhere_else(tmp_path: Path) -> None:
    home = create(tmp_path / "server", ServerConfig(name="F", address="127.0.0.1:1"))
    executor = Executor(home, [sys.executable, "-c", TELLING, str(tmp_path / "seen")])
    executor.start(TOKEN)
    assert executor.started[0].wait(30) == 0
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["input"] == TOKEN
    assert seen["executor"] == os.getpid()  # it ends with it
    assert TOKEN not in seen["cmdline"]
    assert TOKEN not in seen["environment"]
    assert seen["open"] == 4  # three streams, and the folder that was just listed
    assert not [path for path in home.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
