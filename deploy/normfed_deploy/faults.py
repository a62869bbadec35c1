"""Faults that a federation must survive, each on a real one: what was done, what was expected, what was seen.

Every scenario runs a study on a rehearsal, disturbs it, and holds the outcome against the same study undisturbed on
the simulation's local engine: the same weights where no update was lost for good, no round trained twice, nothing
half-written.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from normfed_client.hospital.folder import open_hospital
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import DAMAGED
from normfed_common.study.config import StudyConfig
from normfed_deploy.rehearsal import Rehearsal, Role
from normfed_deploy.wire import Condition
from normfed_server.events.kinds import AskedAgain, RoundDone, RunEvent
from normfed_server.runs import steering
from normfed_server.runs.following import Tail
from normfed_server.state import certificates
from normfed_server.state.ledger import State

SAME = "finishes; the same weights; no round trained twice"
WITHIN_S = 3600.0


@dataclass(frozen=True)
class Scenario:
    """One row of the matrix.

    Parameters
    ----------
    disturb
        Given the rehearsal, the run and a generator, does its worst; gives how often.
    rounds
        Of the study, enough to last while it is disturbed.
    repeats
        Whether rounds may be trained twice: the fault destroys work.
    ready
        Raises RunError if this machine lacks what the fault is made with.
    """

    name: str
    role: str
    phase: str
    what: str
    expected: str
    disturb: Callable[[Rehearsal, str, np.random.Generator], int]
    rounds: int = 6
    repeats: bool = False
    ready: Callable[[], object] = bool


@dataclass(frozen=True)
class Seen:
    """What a scenario led to."""

    name: str
    role: str
    phase: str
    what: str
    expected: str
    times: int
    state: str
    same_weights: bool
    trained_twice: int
    half_written: int
    asked_again: int
    seconds: float
    well: bool


def kill(role: Role, times: int, site: str | None = None) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """SIGKILL at random moments of training, with at least one round finished between two of them."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        count = 0
        while count < times and _open(rehearsal, run):
            time.sleep(float(rng.uniform(0.2, 6.0)))
            pid, rounds = rehearsal.pid(role, site, run), _rounds(rehearsal, run)
            if pid is None or not _open(rehearsal, run):
                continue
            os.kill(pid, signal.SIGKILL)
            count += 1
            if role in ("server", "site"):
                rehearsal.stop("server" if role == "server" else str(site))
                rehearsal.start("server" if role == "server" else str(site))
            _until(lambda before=rounds: _rounds(rehearsal, run) > before or not _open(rehearsal, run), 600)  # type: ignore[misc]
        return count

    return disturb


def pause(role: Role, seconds: float, times: int = 1) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """SIGSTOP, as a machine that swaps or sleeps."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        for _ in range(times):
            time.sleep(float(rng.uniform(0.5, 4.0)))
            pid = rehearsal.pid(role, run=run)
            if pid is None:
                continue
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(pid, signal.SIGCONT)
        return times

    return disturb


def link(condition: Condition, seconds: float, site: str) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """A site's link for a while."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        time.sleep(float(rng.uniform(0.5, 4.0)))
        rehearsal.wires[site].become(condition)
        time.sleep(seconds)
        rehearsal.wires[site].become(Condition.WELL)
        return 1

    return disturb


def server_down(seconds: float) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """The server's machine loses power, and comes back."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        time.sleep(float(rng.uniform(0.5, 4.0)))
        pid = rehearsal.pid("server")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        rehearsal.stop("server")
        time.sleep(seconds)
        rehearsal.start("server")
        return 1

    return disturb


def everything(times: int) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """The power goes at the server and at every site within a moment, and comes back."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        names = ("server", *rehearsal.sites)
        count = 0
        while count < times and _open(rehearsal, run):
            time.sleep(float(rng.uniform(0.2, 6.0)))
            rounds = _rounds(rehearsal, run)
            heads = [rehearsal.pid("server"), *(rehearsal.pid("site", site) for site in rehearsal.sites)]
            for process in [process for head in heads if head is not None for process in _family(head)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            count += 1
            for name in names:
                rehearsal.stop(name)
            for name in names:
                rehearsal.start(name)
            _until(lambda before=rounds: _rounds(rehearsal, run) > before or not _open(rehearsal, run), 600)  # type: ignore[misc]
        return count

    return disturb


def full_disk(what: str, seconds: float) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """The disk of the server's runs, or of a site's state, is full for a while; a small file system of its own."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        folder = rehearsal.home.runs / run / "arms" if what == "server" else rehearsal.folder / what / "outbox" / run
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(folder)], check=True)
        (folder / "ballast").write_bytes(b"\0" * 60_000)
        time.sleep(seconds)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        ledger = rehearsal.home.ledger
        if ledger.get(run).state is State.FAILED:
            steering.resume(rehearsal.home, run)
        return 1

    return disturb


def flipped(times: int) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """Bits flip in the server's copies of the models and in all that b keeps, each while nobody holds it in memory."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        hospital, count = open_hospital(rehearsal.folder / "b"), 0
        rehearsal.stop("b")
        if hospital.cache.is_symlink():  # what others on this machine share must stay whole
            hospital.cache.unlink()
        rehearsal.start("b")
        for _ in range(times):
            rounds = _rounds(rehearsal, run)
            _until(lambda before=rounds: _rounds(rehearsal, run) > before or not _open(rehearsal, run), 600)  # type: ignore[misc]
            time.sleep(float(rng.uniform(0.0, 3.0)))
            pid = rehearsal.pid("serverapp", run=run)
            if pid is not None and _open(rehearsal, run):
                os.kill(pid, signal.SIGKILL)
                count += _flip((rehearsal.home.runs / run / "arms").glob("*/progress.safetensors"), rng)
            rehearsal.stop("b")
            for kept in (hospital.outbox(run), hospital.checkpoints(run), hospital.cache):
                count += _flip(kept.rglob("*"), rng)
            rehearsal.start("b")
        return count

    return disturb


def _flip(paths: Iterable[Path], rng: np.random.Generator) -> int:
    """Flip a bit of up to twenty bytes in every file that was not found damaged before; gives in how many."""
    count = 0
    for path in paths:
        if DAMAGED in str(path) or path.name.startswith(".") or not path.is_file():
            continue
        content = bytearray(path.read_bytes())
        for position in rng.integers(len(content), size=int(rng.integers(1, 21))):
            content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        count += 1
    return count


def lie(kind: str) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """A site lies from now on; afterwards it is honest again."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        rehearsal.stop("b")
        home = str(rehearsal.folder / "b")
        command = [sys.executable, "-m", "normfed_deploy.tampering", "start", kind, home]
        rehearsal.start("b", command=command)
        _until(lambda: not _open(rehearsal, run), WITHIN_S)
        rehearsal.stop("b")
        rehearsal.start("b")
        return 1

    return disturb


def expired(seconds: float) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """The server's certificate expires, and is renewed some time later."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        home = rehearsal.home
        certificates.issue((home.config.host,), home.ca_key, home.ca, home.key, home.certificate, days=-1)
        time.sleep(seconds)
        home.issue_certificate()
        return 1

    return disturb


def faketime() -> Path:
    """The library that shows a process another time.

    Raises
    ------
    RunError
        If it is not installed.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise RunError("a wrong clock needs libfaketime: apt install faketime, or choose other faults with --only")
    return library


def clock(shift: str, seconds: float) -> Callable[[Rehearsal, str, np.random.Generator], int]:
    """A site's clock is wrong, and is set some time later."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        rehearsal.stop("b")
        wrong = {"LD_PRELOAD": str(faketime()), "FAKETIME": shift, "NO_PROXY": "*", "no_proxy": "*"}
        rehearsal.start("b", wrong)
        time.sleep(seconds)
        rehearsal.stop("b")
        rehearsal.start("b")
        return 1

    return disturb


def scenarios(times: int) -> list[Scenario]:
    """The matrix; ``times`` is how often a process is killed."""
    roles: tuple[Role, ...] = ("worker", "serverapp", "executor", "superlink", "server", "runner", "node", "site")
    kills = [
        Scenario(
            f"kill {role}",
            role,
            "training",
            f"SIGKILL at {times} random moments",
            SAME,
            kill(role, times, "b"),
            3 * times,
        )
        for role in roles
    ]
    return [
        *kills,
        Scenario(
            "everything killed",
            "server and sites",
            "training",
            "SIGKILL to every process at the same moment, 3 times, then all started again",
            SAME,
            everything(3),
            12,
        ),
        Scenario(
            "pause superlink", "superlink", "training", "SIGSTOP for 45 s, 3 times", SAME, pause("superlink", 45, 3), 12
        ),
        Scenario("pause serverapp", "serverapp", "training", "SIGSTOP for 90 s", SAME, pause("serverapp", 90), 12),
        Scenario("server down", "server", "training", "its machine is off for 3 minutes", SAME, server_down(180), 10),
        Scenario("cut 60 s", "link of b", "training", "cut for 60 s", SAME, link(Condition.CUT, 60, "b"), 10),
        Scenario("cut 300 s", "link of b", "training", "cut for 5 minutes", SAME, link(Condition.CUT, 300, "b"), 10),
        Scenario("stall 90 s", "link of b", "training", "stalled for 90 s", SAME, link(Condition.STALLED, 90, "b"), 10),
        Scenario("slow", "link of b", "training", "20 kB/s for 2 minutes", SAME, link(Condition.SLOW, 120, "b"), 10),
        *(
            Scenario(
                f"lie {kind}",
                "b",
                "answer",
                what,
                "finished, partial: b's answers are set aside, and said",
                lie(kind),
                6,
            )
            for kind, what in (
                ("nan", "answers not-a-number"),
                ("shapes", "answers other shapes"),
                ("large", "answers ten times the bytes"),
                ("names", "answers other names"),
            )
        ),
        Scenario("expired", "server", "certificate", "expired for 45 s, then renewed", SAME, expired(45), 10),
        Scenario(
            "clock ahead", "b", "connecting", "clock 1 h ahead for 60 s", SAME, clock("+1h", 60), 10, ready=faketime
        ),
        Scenario(
            "clock behind", "b", "connecting", "clock 1 h behind for 60 s", SAME, clock("-1h", 60), 10, ready=faketime
        ),
        Scenario(
            "disk full at server",
            "server",
            "checkpoint",
            "disk of the run's models full for 30 s, then resumed",
            "stops with a sentence; resumed, the same weights",
            full_disk("server", 30),
            10,
        ),
        Scenario(
            "disk full at site",
            "b",
            "outbox",
            "disk of b's outbox full for 30 s",
            "finished, partial: b failed with OUT_OF_SPACE; no file half-written",
            full_disk("b", 30),
            10,
        ),
        Scenario(
            "flipped bits",
            "server and b",
            "between rounds",
            "bits flip in the models on the server, in b's outbox, checkpoints and cache",
            "finishes; the same weights, what was damaged trained again",
            flipped(3),
            15,
            repeats=True,
        ),
    ]


def play(
    scenario: Scenario, rehearsal: Rehearsal, study: StudyConfig, reference: Path, rng: np.random.Generator
) -> Seen:
    """Run one scenario; ``reference`` is the undisturbed run's model."""
    begin = time.monotonic()
    run = rehearsal.begin(study, canary=False)
    folder = rehearsal.home.runs / run
    events = folder / "events.jsonl"
    _until(lambda: _happened(events, RoundDone) > 0, 300)
    times = scenario.disturb(rehearsal, run, rng)
    try:
        entry = rehearsal.wait(run, WITHIN_S)
        state = f"{entry.state}. {entry.why}" if entry.why else str(entry.state)
        finished = entry.state in (State.FINISHED, State.PARTIAL)
    except RunError as error:
        state, finished = str(error), False
    same = finished and _same(folder / "model.safetensors", reference)
    twice = sum(len(rounds) - len(set(rounds)) for rounds in worked(rehearsal, run).values())
    half = sum(
        1 for root in (folder, *[rehearsal.folder / s for s in rehearsal.sites]) for _ in _half_written(root, run)
    )
    again = _happened(events, AskedAgain)
    partial = "partial" in scenario.expected
    return Seen(
        *(scenario.name, scenario.role, scenario.phase, scenario.what, scenario.expected, times, state),
        *(same, twice, half, again, time.monotonic() - begin),
        well=finished and (same or partial) and (scenario.repeats or not twice) and not half,
    )


def worked(rehearsal: Rehearsal, run: str) -> dict[str, list[str]]:
    """Site to the rounds that it trained to their end, as its own log says."""
    found = {}
    for site in rehearsal.sites:
        path = rehearsal.folder / site / "state" / run / "site.log"
        text = path.read_text() if path.exists() else ""
        found[site] = re.findall(r"train\.round federated round (\d+): worked", text)
    return found


def table(seen: list[Seen]) -> str:
    """The matrix as Markdown."""
    head = "| role | phase | fault | times | expected | seen | same weights | trained twice | asked again | s | |"
    rows = [
        f"| {s.role} | {s.phase} | {s.what} | {s.times} | {s.expected} | {s.state} "
        f"| {'yes' if s.same_weights else 'no'} | {s.trained_twice} | {s.asked_again} | {s.seconds:.0f} "
        f"| {'✓' if s.well else '✗'} |"
        for s in seen
    ]
    return "\n".join([head, "|---" * 11 + "|", *rows]) + "\n"


def write(seen: list[Seen], out: Path) -> None:
    """The matrix as JSON and Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "faults.json").write_text(json.dumps([asdict(row) for row in seen], indent=1) + "\n")
    (out / "faults.md").write_text(table(seen))


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it."""
    head = psutil.Process(pid)
    return [head, *head.children(recursive=True)]


def _open(rehearsal: Rehearsal, run: str) -> bool:
    return rehearsal.home.ledger.get(run).state is State.OPEN


def _rounds(rehearsal: Rehearsal, run: str) -> int:
    return _happened(rehearsal.home.runs / run / "events.jsonl", RoundDone)


def _happened(events: Path, kind: type[RunEvent]) -> int:
    return sum(isinstance(event, kind) for event in Tail(events).new())


def _same(first: Path, second: Path) -> bool:
    a, b = named.load(first), named.load(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def _half_written(root: Path, run: str) -> Iterator[Path]:
    for path in root.rglob(".*"):
        if run in str(path) and path.is_file():
            yield path


def _until(condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise RunError(f"nothing happened within {within_s:.0f} s")
        time.sleep(0.2)
