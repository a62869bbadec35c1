"""Looks after open runs and admitted sites: whatever died, it is started again; what ended is settled.

The ledger says what the operator wants, the SuperLink what runs; this is what brings the two together.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from normfed_common.errors import NormfedError
from normfed_server.operation import admission
from normfed_server.operation.control import FINISHED, Control, key_bytes
from normfed_server.operation.home import ServerHome
from normfed_server.operation.ledger import DONE, Entry, Ledger, State
from normfed_server.operation.serving import COORDINATOR, OUTCOME
from normfed_server.report.page import write_report
from normfed_server.report.words import participation_sentence
from normfed_server.runs import reopen

EVERY_S = 1.0
STARTS = 6  # of a run that gets no further: then a person must look
NODES_EVERY_S = 2.0
WARN_EVERY_S = 86_400.0


class Keeper:
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
        self.ledger = Ledger(home.folder / "runs.sqlite")
        self._make_control = control
        self._control: Control | None = None
        self._nodes_at = -NODES_EVERY_S
        self._warned_at = time.monotonic()  # who starts a server warns first
        self._progress: dict[str, int] = {}

    def look(self) -> None:
        """One look at everything; a SuperLink that does not answer is looked at again next time."""
        try:
            if self._control is None:
                self._control = self._make_control()
            if time.monotonic() - self._warned_at > WARN_EVERY_S:
                self._warned_at = time.monotonic()
                for warning in self.home.check():
                    self.say(warning)
            if time.monotonic() - self._nodes_at > NODES_EVERY_S:
                self._nodes_at = time.monotonic()
                self._admit(self._control)
            for entry in self.ledger.all():
                self._tend(self._control, entry)
        except httpx.HTTPError:
            return

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
        outcome = _read(folder / OUTCOME)
        if outcome is not None:
            self._settle(entry, folder, outcome)
            return
        if entry.flower_run is not None:
            run = control.run(entry.flower_run)
            if run is not None and run.status != FINISHED and not _died(folder, entry.flower_run):
                self._note_progress(entry, folder)
                return
            if (folder / OUTCOME).exists():
                return  # written while we asked: settled at the next look
            self.say(f"{entry.name}: its process on this server is gone; going on from the last round.")
            self._stop(control, entry)
            return
        if entry.starts >= STARTS:
            why = f"its process on this server died {entry.starts} times in the same round; see {folder / 'server.log'}"
            self.ledger.set(entry.name, State.FAILED, why)
            self.say(f"{entry.name}: failed. {why}.")
            return
        self.ledger.running(entry.name, control.start(entry.name))

    def _stop(self, control: Control, entry: Entry) -> None:
        if entry.flower_run is None:
            return
        run = control.run(entry.flower_run)
        if run is not None and run.status != FINISHED:
            control.stop(entry.flower_run)
        worker = _worker(self.home.runs / entry.name, entry.flower_run)
        if worker is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.terminate()  # it would notice by itself, but only some time later
        self.ledger.ended(entry.name)

    def _settle(self, entry: Entry, folder: Path, outcome: dict[str, Any]) -> None:
        if outcome["state"] != "finished":
            self.ledger.set(entry.name, State.FAILED, outcome["why"])
            self.say(f"{entry.name}: stopped. {outcome['why']}")
            return
        metrics = json.loads((folder / "metrics.json").read_text())
        partial = participation_sentence(metrics)
        try:
            write_report(reopen(folder))
        except NormfedError as error:  # the figures are there all the same
            self.say(f"{entry.name}: no report. {error}")
        self.ledger.set(entry.name, State.PARTIAL if partial else State.FINISHED, partial or "")
        self.say(f"{entry.name}: {self.ledger.get(entry.name).state}. {partial or ''}".rstrip())

    def _note_progress(self, entry: Entry, folder: Path) -> None:
        """Whether anything new is on disk since this run was started."""
        newest = max((path.stat().st_mtime_ns for path in folder.glob("arms/*/*.safetensors")), default=0)
        if newest > self._progress.setdefault(entry.name, newest):
            self._progress[entry.name] = newest
            self.ledger.progressed(entry.name)


def resume(home: ServerHome, name: str) -> None:
    """Want a run again that was stopped or failed.

    Raises
    ------
    RunError
        If there is no such run.
    """
    ledger = Ledger(home.folder / "runs.sqlite")
    if ledger.get(name).state in DONE:
        return
    (home.runs / name / OUTCOME).unlink(missing_ok=True)
    ledger.set(name, State.OPEN)


def _worker(folder: Path, flower_run: int) -> psutil.Process | None:
    """The process that works on this Flower run, if it said so and still lives; another that has its number is not."""
    found = _read(folder / COORDINATOR)
    if found is None or found["flower_run"] != flower_run:
        return None
    try:
        process = psutil.Process(found["pid"])
        same = process.create_time() == found["began"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None  # a zombie: its executor does not reap it


def _died(folder: Path, flower_run: int) -> bool:
    """Whether the process that worked on this Flower run is gone: Flower itself notices after a minute."""
    found = _read(folder / COORDINATOR)
    return found is not None and found["flower_run"] == flower_run and _worker(folder, flower_run) is None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
