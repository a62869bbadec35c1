"""What a scenario led to, compared with the same study undisturbed on the simulation's local engine.

The same weights where no update was lost for good, no round trained twice, nothing half-written. Of a study that
protects people, the same entries in every ledger as of a run that nobody disturbed; of one with secure sums, nothing of
a single site in what reached the server.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from normfed_client.hospital.bookkeeping.entries import Release
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError
from normfed_common.study.config import StudyConfig
from normfed_deploy.faults import overhearing
from normfed_deploy.faults.disturbance import WITHIN_S, happened, until
from normfed_deploy.faults.scenarios import Scenario
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.events.kinds import AskedAgain, RoundDone
from normfed_server.state.ledger import State

# What was released, and whether its answer was made, without when and in which run.
Spent = Mapping[str, Sequence[tuple[Release, bool]]]


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario is held against.

    Parameters
    ----------
    model
        The file of its weights.
    spent
        Site to what it released; absent where nobody's privacy is counted.
    """

    model: Path
    spent: Spent | None = None


@dataclass(frozen=True)
class Seen:
    """What a scenario led to.

    Parameters
    ----------
    same_spent
        Whether the ledgers are as without the fault; absent where they are not compared.
    in_the_clear
        Answers with something of one site that the server could read; absent where sums are not secure.
    """

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
    same_spent: bool | None = None
    in_the_clear: int | None = None


def play(
    scenario: Scenario, rehearsal: Rehearsal, study: StudyConfig, undisturbed: Undisturbed, rng: np.random.Generator
) -> Seen:
    """Run one scenario."""
    begin = time.monotonic()
    secure = study.privacy.secure_aggregation is not None
    rehearsal.forget_spent()
    since = overhearing.listen(rehearsal.home.database) if secure else 0
    run = rehearsal.begin(study, canary=False)
    folder = rehearsal.home.runs / run
    events = folder / "events.jsonl"
    if not scenario.from_start:
        until(lambda: happened(events, RoundDone) > 0, 300)
    times = scenario.disturb(rehearsal, run, rng)
    try:
        entry = rehearsal.wait(run, WITHIN_S)
        state = f"{entry.state}. {entry.why}" if entry.why else str(entry.state)
        finished = entry.state in (State.FINISHED, State.PARTIAL)
    except RunError as error:
        state, finished = str(error), False
    same = finished and same_weights(folder / "model.safetensors", undisturbed.model)
    twice = sum(len(rounds) - len(set(rounds)) for rounds in worked(rehearsal, run).values())
    half = sum(
        1 for root in (folder, *[rehearsal.folder / s for s in rehearsal.sites]) for _ in _half_written(root, run)
    )
    again = happened(events, AskedAgain)
    partial = "partial" in scenario.expected
    same_spent = None if undisturbed.spent is None else spent(rehearsal) == undisturbed.spent
    clear = _in_the_clear(rehearsal, since) if secure else None
    return Seen(
        *(scenario.name, scenario.role, scenario.phase, scenario.what, scenario.expected, times, state),
        *(same, twice, half, again, time.monotonic() - begin),
        well=finished
        and (partial or (same and same_spent is not False))
        and (scenario.repeats or not twice)
        and not half
        and not clear,
        same_spent=same_spent,
        in_the_clear=clear,
    )


def spent(rehearsal: Rehearsal) -> Spent:
    """What every site's ledger says was released, the run's name apart."""
    return {
        site: [(replace(entry.release, run=""), entry.settled) for entry in entries]
        for site, entries in rehearsal.spent().items()
    }


def _in_the_clear(rehearsal: Rehearsal, since: int) -> int:
    """Of the answers about people that the server was sent, those that are not noise to it.

    Raises
    ------
    RunError
        If nothing was heard of a site, so that nothing is known of it.
    """
    heard = overhearing.learnt(rehearsal.home.database, since)
    silent = set(rehearsal.sites) - {site for site, _ in heard}
    if silent:
        raise RunError(f"no answer of {', '.join(sorted(silent))} was seen at the server")
    return sum(not overhearing.is_masked(arrays) for _, arrays in heard)


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
    head = (
        "| role | phase | fault | times | expected | seen | same weights | same ledgers | in the clear "
        "| trained twice | asked again | s | |"
    )
    rows = [
        f"| {s.role} | {s.phase} | {s.what} | {s.times} | {s.expected} | {s.state} "
        f"| {_yes(s.same_weights)} | {_yes(s.same_spent)} | {'–' if s.in_the_clear is None else s.in_the_clear} "
        f"| {s.trained_twice} | {s.asked_again} | {s.seconds:.0f} "
        f"| {'✓' if s.well else '✗'} |"
        for s in seen
    ]
    return "\n".join([head, "|---" * 13 + "|", *rows]) + "\n"


def write(seen: list[Seen], out: Path) -> None:
    """The matrix as JSON and Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "faults.json").write_text(json.dumps([asdict(row) for row in seen], indent=1) + "\n")
    (out / "faults.md").write_text(table(seen))


def same_weights(first: Path, second: Path) -> bool:
    """Whether two models are the same, bit for bit."""
    a, b = named.load(first), named.load(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def _yes(answer: bool | None) -> str:
    return {True: "yes", False: "no", None: "–"}[answer]


def _half_written(root: Path, run: str) -> Iterator[Path]:
    for path in root.rglob(".*"):
        if run in str(path) and path.is_file():
            yield path
