"""Processor seconds of a federation of three hospitals on this machine: coming up, idle, and waiting for a round.

    python benchmarks/bench_waiting.py                 # a few minutes
    python benchmarks/bench_waiting.py --seconds 120   # idle and waiting for so long each

The round is waited for because the processes that work at the hospitals are stopped: what is left is the cost of
waiting, of SuperLink, ServerApp, executor and every hospital's node and runner. Percentages are of one core.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from common import machine

from normfed_common.studies import resolve
from normfed_deploy.rehearsal import Rehearsal, Role, floors
from normfed_deploy.tiny import STUDY
from normfed_simulation.phantom import hospitals

SITES = "abc"
WITHIN_S = 1800.0
SETTLING_S = 10.0
AT_SITES: tuple[Role, ...] = ("site", "node", "runner", "worker")
AT_SERVER: tuple[Role, ...] = ("server", "superlink", "executor")


def processor_s(federation: Rehearsal, run: str | None = None) -> Counter[str]:
    """Seconds by role, of all hospitals together."""
    found: Counter[str] = Counter()
    pids = [(role, federation.pid(role)) for role in AT_SERVER]
    pids += [(role, federation.pid(role, site)) for role in AT_SITES for site in SITES]
    pids += [("serverapp", federation.pid("serverapp", run=run))] if run else []
    for role, pid in pids:
        if pid is not None:
            times = psutil.Process(pid).cpu_times()
            found[role] += times.user + times.system
    return found


def tell(what: str, spent: Counter[str], seconds: float) -> None:
    """A line per phase."""
    listed = ", ".join(f"{role} {value:.1f}" for role, value in spent.most_common() if value >= 0.05)
    print(f"{what}, {seconds:.0f} s: {spent.total():.1f} s of processor, {spent.total() / seconds:.0%}: {listed}")


def main() -> None:
    """Three phases, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0)
    seconds = parser.parse_args().seconds
    print(machine())
    study = resolve(STUDY | {"federation": {"rounds": 2, "minimum_cohort": 2}}, "the benchmark's study")
    with tempfile.TemporaryDirectory() as root:
        os.environ["NORMFED_CACHE"] = str(Path(root) / "cache")
        data = Path(root) / "data"
        assert study.data.phantom is not None
        hospitals.write(study.data.phantom, study.seed, data, workers=1)
        begin = time.monotonic()
        made = Rehearsal(Path(root) / "federation", data, {site: (site,) for site in SITES}, settings=floors(study))
        with made.up() as federation:
            time.sleep(SETTLING_S)  # the processes that work get warm
            tell("Coming up", processor_s(federation), time.monotonic() - begin)
            before = processor_s(federation)
            time.sleep(seconds)
            tell("Idle", processor_s(federation) - before, seconds)
            run = federation.begin(study)
            events = federation.home.runs / run / "events.jsonl"
            while not (events.exists() and '"event": "round"' in events.read_text()):
                time.sleep(0.1)
            held = [pid for site in SITES if (pid := federation.pid("worker", site)) is not None]
            for pid in held:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(SETTLING_S)
            before = processor_s(federation, run)
            time.sleep(seconds)
            tell("Waiting for a round", processor_s(federation, run) - before, seconds)
            for pid in held:
                os.kill(pid, signal.SIGCONT)
            print(f"The run: {federation.wait(run, WITHIN_S).state}")


if __name__ == "__main__":
    main()
