"""What the official BIDS validator says of a dataset, without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import bids_validator_deno

PACKAGE = Path(bids_validator_deno.__file__).parent
DENO = PACKAGE.parents[3] / "bin" / "deno"  # of the same environment
ALLOWED = ("--allow-read", "--allow-env")  # no network


def faults(root: Path, severity: str = "error") -> list[str]:
    """A line for every fault of this severity."""
    with tempfile.TemporaryDirectory() as folder:  # in /dev/shm, where tests may keep their files, Deno reads nothing
        copy = shutil.copytree(root, Path(folder) / "dataset")
        command = [DENO, "run", *ALLOWED, PACKAGE / "bids-validator.js", copy, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)["issues"]["issues"]
    return [f"{one['code']} {one.get('subCode')} {one['location']}" for one in found if one["severity"] == severity]
