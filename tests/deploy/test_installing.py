"""What `make install` shows while pip works."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "installing.py"
PIP = """
print("Collecting torch")
print("  Downloading torch-2.13-cp311.whl (180.1 MB)")
print("  Downloading tiny-1.0.whl (12 kB)")
print("  Downloading small-1.0.whl (3.0 MB)")
print("Installing collected packages: torch, tiny")
print("ERROR: nothing of it", flush=True)
raise SystemExit({code})
"""


@pytest.mark.parametrize("code", [0, 1])
def test_large_downloads_are_a_line_each_and_all_is_said_only_if_it_fails(code: int) -> None:
    command = [sys.executable, SCRIPT, sys.executable, "-c", PIP.format(code=code)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert ended.stdout.splitlines() == [
        "  Downloading torch-2.13-cp311.whl, 180.1 MB",
        "  Installing what was downloaded",
    ]
    assert ("Collecting torch" in ended.stderr, "ERROR" in ended.stderr) == (bool(code), bool(code))


def test_a_terminal_whose_log_is_kept_gets_the_same_handful_of_lines() -> None:
    """Once every step of pip was drawn over the one before, which the log of `script` keeps: 230 of them."""
    ours, theirs = pty.openpty()
    command = [sys.executable, SCRIPT, sys.executable, "-c", PIP.format(code=0)]
    assert subprocess.run(command, stdout=theirs, stderr=theirs, check=False).returncode == 0
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert shown.split("\r\n") == [
        "  Downloading torch-2.13-cp311.whl, 180.1 MB",
        "  Installing what was downloaded",
        "",
    ]
