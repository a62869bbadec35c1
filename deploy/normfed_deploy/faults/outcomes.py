"""What a scenario led to, compared with the same study undisturbed on the simulation's local engine.

The same weights where no update was lost for good, no round trained twice, nothing half-written.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError
from normfed_common.study.config import StudyConfig
from normfed_deploy.faults.disturbance import WITHIN_S, happened, until
from normfed_deploy.faults.scenarios import Scenario
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.events.kinds import AskedAgain, RoundDone
from normfed_server.state.ledger import State


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


def play(
    scenario: Scenario, rehearsal: Rehearsal, study: StudyConfig, reference: Path, rng: np.random.Generator
) -> Seen:
    """Run one scenario; ``reference`` is the undisturbed run's model."""
    begin = time.monotonic()
    run = rehearsal.begin(study, canary=False)
    folder = rehearsal.home.runs / run
    events = folder / "events.jsonl"
    until(lambda: happened(events, RoundDone) > 0, 300)
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
    again = happened(events, AskedAgain)
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


def _same(first: Path, second: Path) -> bool:
    a, b = named.load(first), named.load(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def _half_written(root: Path, run: str) -> Iterator[Path]:
    for path in root.rglob(".*"):
        if run in str(path) and path.is_file():
            yield path
