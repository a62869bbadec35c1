"""Wall time and peak memory of commands that compute nothing, beside the floor: an interpreter that does nothing.

Every command is timed in turn with the floor, so that both see the same machine; the figure is the median of the wall
times, and the largest peak.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import machine

from normfed_client.operation import joining
from normfed_common.deployment import enrolment
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, create

TIMES = 9
FLOOR = ("-c", "pass")
COMMANDS = (
    *("--help", "--version", "server --help", "site --help", "simulate --help", "strategies", "models"),
    *("server status --home server", "server runs --home server", "site status --home site"),
)
# In a small process of its own: a child's peak counts from what its parent had when it was made.
MEASURE = """\
import resource, subprocess, sys, time
begin = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def main() -> None:
    """Print the table."""
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        home = create(Path("server"), ServerConfig(name="F", address="fed.example.org:8000"))
        Path("data").mkdir()
        joining.join(enrolment.load(admission.enrol(home, "a")), Path("site"), Path("data"), ())
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ("python -c pass", *COMMANDS)}
        for _ in range(TIMES):
            for name, figures in measured.items():
                figures.append(run(FLOOR if name not in COMMANDS else ("-m", "normfed_common.cli", *name.split())))
    print("| command | wall, s | peak, MB |\n|---|---|---|")
    for name, figures in measured.items():
        seconds, megabytes = zip(*figures, strict=True)
        print(f"| {name} | {statistics.median(seconds):.2f} | {max(megabytes):.0f} |")


def run(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of one process."""
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, *arguments], capture_output=True, check=True
    )
    seconds, kilobytes = measured.stdout.split()
    return float(seconds), float(kilobytes) / 1024


if __name__ == "__main__":
    main()
