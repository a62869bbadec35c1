"""How long Python takes to begin, and to a data frame: of a finished run, and of a tiny study from its start.

    python benchmarks/bench_start.py [REPEATS]

The tiny study has three synthetic hospitals with 22 people on a grid of 4 mm, whose scans are prepared beforehand.
Each is started REPEATS times (11 by default), in turn, so that a busy moment hits all of them; medians and the fastest,
in seconds by the wall clock, and the processor's time, which a busy machine changes less. For commands see `bench_cli`.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import normfed
from normfed_deploy.tiny import STUDY


def commands(run: Path) -> dict[str, list[str]]:
    """What is started, by what it is called; ``run`` is a finished run, beside which others are made."""
    python = [sys.executable, "-c"]
    simulated = f"normfed.simulate({STUDY!r}, out={str(run.parent)!r}, progress=False)"
    return {
        "python -c pass": [*python, "pass"],
        "import normfed": [*python, "import normfed"],
        "import normfed_common": [*python, "import normfed_common"],
        "import normfed_common.cli": [*python, "import normfed_common.cli"],
        "open_run(RUN).sites": [*python, f"import normfed; normfed.open_run({str(run)!r}).sites"],
        "open_run(RUN).patients": [*python, f"import normfed; normfed.open_run({str(run)!r}).patients"],
        "simulate(TINY).patients": [*python, f"import normfed; {simulated}.patients"],
    }


def once(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    before, begun = _spent(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "100"})
    return time.perf_counter() - begun, _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Make a run, then measure."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NORMFED_CACHE"] = f"{folder}/cache"
        measure(commands(normfed.simulate(STUDY, out=f"{folder}/runs", progress=False).folder), repeats)


def measure(named: dict[str, list[str]], repeats: int) -> None:
    """Start everything, and print a table."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for command in named.values():
        once(command)  # files come from the disk
    for _ in range(repeats):
        for name, command in named.items():
            found[name].append(once(command))
    print(f"{'':<28}{'median':>8}{'fastest':>9}{'processor':>11}   of {repeats}, load {os.getloadavg()[0]:.1f}")
    for name, times in found.items():
        wall, spent = zip(*times, strict=True)
        print(f"{name:<28}{statistics.median(wall):>8.3f}{min(wall):>9.3f}{statistics.median(spent):>11.3f}")


if __name__ == "__main__":
    main()
