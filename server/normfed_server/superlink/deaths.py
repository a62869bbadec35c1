"""How the process of a run died, and how often: an error of ours comes again, whoever killed it may stop doing so.

The process is a child of Flower's executor, not ours. What is known of its end: the error that it wrote down, if it
could; while nobody has reaped it, what the kernel keeps of it; otherwise that it is gone without a word.
"""

from __future__ import annotations

import contextlib
import signal
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil

from normfed_common.foundation.files import write_json
from normfed_server.state.notes import COORDINATOR, CRASH, DEATHS, LOG, read

CRASHES = 6  # errors of ours in the same round: then a person must look
KILLS = 60  # from outside, in the same round; with the pauses between them, many hours
LONGEST_PAUSE_S = 600.0
EXIT_CODE = 52  # field of /proc/PID/stat, counted from 1; see proc(5)


@dataclass(frozen=True)
class Death:
    """One end of a run's process.

    Parameters
    ----------
    crashed
        By an error of its own; otherwise from outside.
    how
        Follows "its process on this server".
    """

    crashed: bool
    how: str


@dataclass(frozen=True)
class Deaths:
    """How often it died since the run last got further.

    Parameters
    ----------
    newest
        When the run last wrote a model, in ns.
    """

    crashes: int = 0
    kills: int = 0
    newest: int = 0

    @property
    def too_many(self) -> bool:
        """Whether to give up."""
        return self.crashes >= CRASHES or self.kills >= KILLS

    @property
    def pause_s(self) -> float:
        """How long to wait before the next try: not at all after the first death, then longer every time."""
        count = self.crashes + self.kills
        return min(2.0 ** (count - 1), LONGEST_PAUSE_S) if count > 1 else 0.0


def worker(folder: Path, flower_run: int) -> psutil.Process | None:
    """The process that works on this Flower run, if it said so and still lives; another that has its number is not."""
    process = _process(folder, flower_run)
    try:
        # A zombie: its executor does not reap it.
        return process if process is not None and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def is_dead(folder: Path, flower_run: int) -> bool:
    """Whether the process that worked on this Flower run is gone: Flower itself notices after a minute."""
    found = read(folder / COORDINATOR)
    return found is not None and found["flower_run"] == flower_run and worker(folder, flower_run) is None


def cause(folder: Path, flower_run: int, details: str) -> Death:
    """How the process that worked on a Flower run ended, as far as anybody knows; ``details`` is what Flower says."""
    crash = read(folder / CRASH)
    if crash is not None and crash["flower_run"] == flower_run:
        return Death(not crash["lost"], f"failed with {crash['why']}")
    found = read(folder / COORDINATOR)
    flower = f" (Flower: {details})" if details else ""
    if found is None or found["flower_run"] != flower_run:
        return Death(False, f"ended before it began to work{flower}; log/executor.log may say more")
    if worker(folder, flower_run) is not None:
        return Death(False, f"lives, but lost touch with the SuperLink{flower}")
    code = _exit_code(folder, flower_run)
    if code is None:
        return Death(False, "is gone without a word: killed, or its machine went down")
    if code & 0x7F:
        return Death(False, f"was killed by {_signal(code & 0x7F)}")
    return Death(False, f"ended with exit code {code >> 8}, without an error")


def _signal(number: int) -> str:
    """A signal by number and name; those for real-time programs have none."""
    known = {int(one): one.name for one in signal.Signals}
    return f"signal {number} ({known[number]})" if number in known else f"signal {number}"


def count(folder: Path, death: Death) -> Deaths:
    """Add a death to those since the run last got further, and write it into the run's log."""
    known = Deaths(**(read(folder / DEATHS) or {}))
    newest = max((path.stat().st_mtime_ns for path in folder.glob("arms/*/*.safetensors")), default=0)
    if newest != known.newest:
        known = Deaths(newest=newest)
    counted = Deaths(known.crashes + death.crashed, known.kills + (not death.crashed), newest)
    with contextlib.suppress(OSError):  # a full disk
        write_json(folder / DEATHS, asdict(counted))
    log(folder, f"its process on this server {death.how} (death {counted.crashes + counted.kills} in the same round)")
    return counted


def sentence(folder: Path, counted: Deaths, death: Death) -> str:
    """Why a run is given up."""
    last = f"last it {death.how}. See {folder / LOG}; then: normfed server resume {folder.name}"
    if counted.crashes >= CRASHES:
        return f"its process on this server failed {counted.crashes} times in the same round; {last}"
    return (
        f"its process on this server was ended from outside {counted.kills} times in the same round (if the machine "
        f"ran out of memory, `dmesg` says so); {last}"
    )


def log(folder: Path, text: str) -> None:
    """Add a line to the run's log, as the run's own process does."""
    with contextlib.suppress(OSError), open(folder / LOG, "a", encoding="utf-8") as file:
        file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S,000} ERROR reconciler: {text}\n")


def _process(folder: Path, flower_run: int) -> psutil.Process | None:
    found = read(folder / COORDINATOR)
    if found is None or found["flower_run"] != flower_run:
        return None
    try:
        process = psutil.Process(found["pid"])
        return process if process.create_time() == found["began"] else None
    except psutil.NoSuchProcess:
        return None


def _exit_code(folder: Path, flower_run: int) -> int | None:
    """As `waitpid` would give it; None once the process was reaped."""
    process = _process(folder, flower_run)
    if process is None:
        return None
    try:
        after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(after_name[EXIT_CODE - 3])
    except (OSError, ValueError, IndexError):
        return None
