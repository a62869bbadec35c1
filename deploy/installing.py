"""Run pip and show how far it is: on a terminal the latest step on one line, elsewhere a line per large download.

python deploy/installing.py PIP install ...

All that pip says stands on the error output if it fails, and its exit code is this one's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque

STEP = re.compile(r"\s*(Collecting|Downloading|Building|Preparing|Installing) \S.*")
LARGE = re.compile(r"\s*Downloading (?P<name>\S+) \((?P<size>[0-9.]+ (?:MB|GB))\)")
ANEW = "\r\033[K"  # the line begins anew
LEAST_MB = 20.0
WIDTH = 76  # columns of a step
KEPT = 200  # lines of what went wrong


def main(command: list[str]) -> int:
    """Run it; returns its exit code."""
    said: deque[str] = deque(maxlen=KEPT)
    drawn = sys.stdout.isatty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            shown = step(line) if drawn else stage(line)
            if shown:
                show(f"{ANEW}  {shown}" if drawn else f"  {shown}\n")
    if drawn:
        show(ANEW)
    if process.returncode:
        sys.stderr.writelines(said)
    return process.returncode


def show(text: str) -> None:
    """At once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def step(line: str) -> str:
    """What pip does now; nothing of a line that says something else."""
    return line.strip()[:WIDTH] if STEP.match(line) else ""


def stage(line: str) -> str:
    """A large download, or that all is there and is put in place."""
    if found := LARGE.match(line):
        number, unit = found["size"].split()
        return f"Downloading {found['name']}, {found['size']}" if float(number) >= LEAST_MB or unit == "GB" else ""
    return "Installing what was downloaded" if line.startswith("Installing collected packages") else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
