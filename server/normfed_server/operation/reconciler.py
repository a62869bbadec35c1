"""Looks after open runs and admitted sites: whatever died, it is started again; what ended is settled.

The ledger says what the operator wants, the SuperLink what runs; this is what brings the two together.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from normfed_common.chain.kinds.server import Ended, Ending
from normfed_common.foundation.errors import DamagedError, NormfedError
from normfed_server.paper.writing import write_paper
from normfed_server.report.cohorts import write_cohorts
from normfed_server.report.page import write_report
from normfed_server.report.words import participation_sentence
from normfed_server.results import cohorts, layout
from normfed_server.results.cohorts import Statistics
from normfed_server.results.exporting import MODEL
from normfed_server.runs.folder import counts_only, reopen
from normfed_server.state import admission
from normfed_server.state.chain import record
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import Entry, State
from normfed_server.state.notes import COHORTS, OUTCOME, read, replaces
from normfed_server.superlink import deaths
from normfed_server.superlink.control import FINISHED, Control, key_bytes

EVERY_S = 1.0
ENDED: Mapping[State, Ending] = {
    State.FINISHED: "finished",
    State.PARTIAL: "finished, partial",
    State.FAILED: "failed",
}
NODES_EVERY_S = 2.0
ALIVE_EVERY_S = 10.0  # Flower is asked about a run whose process lives: it may have lost touch
WARN_EVERY_S = 86_400.0


class Reconciler:
    """Brings what the SuperLink does in line with what the operator wants.

    Parameters
    ----------
    control
        Made anew whenever it is needed: the SuperLink may not be there yet.
    say
        Told, in a sentence, what an operator should know.
    """

    def __init__(self, home: ServerHome, control: Callable[[], Control], say: Callable[[str], None]) -> None:
        self.home, self.say = home, say
        self.ledger = home.ledger
        self._make_control = control
        self._control: Control | None = None
        self._nodes_at = -NODES_EVERY_S
        self._warned_at = time.monotonic()  # who starts a server warns first
        self._asked: dict[str, float] = {}  # run to when Flower was asked about it, by the monotonic clock
        self._due: dict[str, float] = {}  # run to when it may be started again, by the monotonic clock
        self._wrong: dict[str, str] = {}  # what could not be looked after, and why

    def look(self) -> None:
        """One look at everything; a SuperLink that does not answer is looked at again next time."""
        try:
            if self._control is None:
                self._control = self._make_control()
            control = self._control
            if time.monotonic() - self._warned_at > WARN_EVERY_S:
                self._warned_at = time.monotonic()
                self._apart("server", self._warn)
            if time.monotonic() - self._nodes_at > NODES_EVERY_S:
                self._nodes_at = time.monotonic()
                self._apart("sites", lambda: self._admit(control))
            for entry in self.ledger.all():
                self._apart(entry.name, lambda entry=entry: self._tend(control, entry))  # type: ignore[misc]
        except httpx.TransportError:
            return

    def _apart(self, what: str, work: Callable[[], None]) -> None:
        """Look after one thing: whatever is wrong with it, the others are looked after too. Said once per change."""
        try:
            work()
        except httpx.TransportError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, it is said, and the next look may succeed)
            wrong = str(error) if isinstance(error, NormfedError) else f"{type(error).__name__}: {error}"
            if self._wrong.get(what) != wrong:
                self.say(f"{what}: cannot be looked after; trying again. {wrong}")
            self._wrong[what] = wrong
            return
        self._wrong.pop(what, None)

    def _warn(self) -> None:
        for warning in self.home.check():
            self.say(warning)

    def close(self) -> None:
        """Let go of the SuperLink, which waits at its end until nobody is connected."""
        if self._control is not None:
            self._control.close()

    def _admit(self, control: Control) -> None:
        """Register accepted keys, unregister revoked ones; remember what the SuperLink says of each."""
        nodes = control.nodes()
        found = {}
        for site, member in admission.members(self.home).items():
            if member.state == "invited":
                continue
            node = nodes.get(key_bytes(member.key))
            if member.state == "revoked":
                if node is not None:
                    control.unregister(node.node_id)
                    self.say(f"{site}: shut out.")
                continue
            if node is None:
                found[site] = {"id": control.register(site, member.key), "online": False, "since": ""}
                self.say(f"{site}: admitted.")
                continue
            online = node.status == "online"
            since = node.last_activated_at if online else node.last_deactivated_at
            found[site] = {"id": node.node_id, "online": online, "since": since}
        if found != admission.seen(self.home):
            admission.write_seen(self.home, found)

    def _tend(self, control: Control, entry: Entry) -> None:
        folder = self.home.runs / entry.name
        if entry.state is not State.OPEN:
            if entry.flower_run is not None:
                self._stop(control, entry)
            return
        outcome = read(folder / OUTCOME)
        if outcome is not None:
            self._settle(entry, folder, outcome)
            return
        if entry.flower_run is not None:
            now = time.monotonic()
            lives = deaths.worker(folder, entry.flower_run) is not None
            if lives and now - self._asked.get(entry.name, -ALIVE_EVERY_S) < ALIVE_EVERY_S:
                return
            self._asked[entry.name] = now
            run = control.run(entry.flower_run)
            if run is not None and run.status != FINISHED and not deaths.is_dead(folder, entry.flower_run):
                return
            if (folder / OUTCOME).exists():
                return  # written while we asked: settled at the next look
            self._died(control, entry, entry.flower_run, "" if run is None else run.details)
            return
        if time.monotonic() >= self._due.get(entry.name, 0.0):
            self.ledger.running(entry.name, control.start(entry.name))

    def _died(self, control: Control, entry: Entry, flower_run: int, details: str) -> None:
        """Its process is gone before the run ended: again, after a pause, or given up where that led nowhere."""
        folder = self.home.runs / entry.name
        death = deaths.cause(folder, flower_run, details)
        self._stop(control, entry)
        counted = deaths.count(folder, death)
        if counted.too_many:
            why = deaths.sentence(folder, counted, death)
            self._end(entry, State.FAILED, why)
            self.say(f"{entry.name}: failed. {why}")
            return
        self._due[entry.name] = time.monotonic() + counted.pause_s
        when = f" in {counted.pause_s:.0f} s" if counted.pause_s else ""
        why = f"its process on this server {death.how}; going on from the last round{when}."
        self.ledger.interrupted(entry.name, why)
        self.say(f"{entry.name}: {why}")

    def _stop(self, control: Control, entry: Entry) -> None:
        if entry.flower_run is None:
            return
        run = control.run(entry.flower_run)
        if run is not None and run.status != FINISHED:
            control.stop(entry.flower_run)
        worker = deaths.worker(self.home.runs / entry.name, entry.flower_run)
        if worker is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.terminate()  # it would notice by itself, but only some time later
        self.ledger.ended(entry.name)

    def _settle(self, entry: Entry, folder: Path, outcome: dict[str, Any]) -> None:
        if outcome["state"] != "finished":
            self._end(entry, State.FAILED, outcome["why"])
            self.say(f"{entry.name}: stopped. {outcome['why']}")
            return
        counted = counts_only(folder)
        try:
            partial = _missing(cohorts.read(folder)) if counted else participation_sentence(layout.read(folder))
        except DamagedError as error:
            path = folder / (COHORTS if counted else layout.FILE)
            why = f"{path} cannot be read ({error.why}). Make it again: normfed server resume {entry.name}"
            self._end(entry, State.FAILED, why)
            self.say(f"{entry.name}: failed. {why}")
            return
        try:
            if not counted:
                write_paper(reopen(folder))
            (write_cohorts if counted else write_report)(reopen(folder))
            before = None if counted else replaces(folder)
            if before is not None and (self.home.runs / before.run / layout.FILE).exists():
                write_report(reopen(self.home.runs / before.run))  # says what the withdrawal changed
        except Exception as error:  # noqa: BLE001  (the figures are there all the same)
            self.say(f"{entry.name}: no report. {type(error).__name__}: {error}")
        self._end(entry, State.PARTIAL if partial else State.FINISHED, partial or "")
        self.say(f"{entry.name}: {self.ledger.get(entry.name).state}. {partial or ''}".rstrip())

    def _end(self, entry: Entry, state: State, why: str) -> None:
        """How a run ended, and with which model."""
        model = self.home.runs / entry.name / MODEL
        digest = ""
        if model.exists():
            with open(model, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        record(self.home, Ended(run=entry.name, state=ENDED[state], model=digest))
        self.ledger.set(entry.name, state, why)


def _missing(found: Statistics) -> str:
    """Which sites are not in the statistics; empty where all are."""
    told = "; ".join(f"{site}: {why}" for site, why in found.missed.items())
    return f"Not all sites are in the statistics. {told}." if told else ""
