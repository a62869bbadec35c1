"""Processor time of the study of domain shift that ships: six scanners by six, without and with three harmonizations.

    python benchmarks/bench_domain_shift.py [--out DIR]

With a cache of its own, so that the synthetic people are made and prepared too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine

from normfed_simulation.domain_shift.layout import read

CORES, LIMIT_MINUTES = 2, 20.0  # of processor time on both
COMMAND = "from normfed_common.cli import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the study's folder stays")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as place:
        out = options.out or Path(place) / "runs"
        environment = {**os.environ, "NORMFED_CACHE": str(Path(place) / "cache"), "OMP_NUM_THREADS": "1"}
        asked = ["study", "domain-shift", "--out", str(out), "--workers", "0", "--parallel", "1", "--quiet"]
        begun, before = time.perf_counter(), os.times()
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *asked], env=environment, check=True, capture_output=True, text=True
        )
        wall, after = time.perf_counter() - begun, os.times()
        results = read(Path(done.stdout.strip()).parent)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    verdict = "met" if used / 60 <= CORES * LIMIT_MINUTES else "MISSED"
    print(
        f"{len(results.harmonizations)} runs of {len(results.sites)} x {len(results.tested)} scanners: "
        f"{used / 60:.1f} minutes of one core, {wall / 60:.1f} by the clock; "
        f"limit {LIMIT_MINUTES:.0f} minutes on {CORES} cores: {verdict}"
    )
    for topic, sentences in results.words.items():
        print(f"{topic}. {' '.join(sentences)}")


if __name__ == "__main__":
    main()
