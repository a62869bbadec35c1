"""Run pip and show how far it is: a line per large download, and when all is there; the same on a terminal, whose log
`script` keeps.

python deploy/installing.py PIP install ...

All that pip says stands on the error output if it fails, and its exit code is this one's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque

LARGE = re.compile(r"\s*Downloading (?P<name>\S+) \((?P<size>[0-9.]+ (?:MB|GB))\)")
LEAST_MB = 20.0
KEPT = 200  # lines of what went wrong


def main(command: list[str]) -> int:
    """Run it; returns its exit code."""
    said: deque[str] = deque(maxlen=KEPT)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if shown := stage(line):
                sys.stdout.write(f"  {shown}\n")
                sys.stdout.flush()
    if process.returncode:
        sys.stderr.writelines(said)
    return process.returncode


def stage(line: str) -> str:
    """A large download, or that all is there and is put in place."""
    if found := LARGE.match(line):
        number, unit = found["size"].split()
        return f"Downloading {found['name']}, {found['size']}" if float(number) >= LEAST_MB or unit == "GB" else ""
    return "Installing what was downloaded" if line.startswith("Installing collected packages") else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
