"""One run on an operator's server: inside Flower's ServerApp process, between Flower's grid and the coordinator."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from flwr.app import Message
from flwr.serverapp import Grid

from normfed_common.foundation.errors import NormfedError, RunError, SiteCode
from normfed_common.foundation.files import is_full, write_json
from normfed_common.foundation.locks import exclusive
from normfed_common.studies import study_of_run
from normfed_common.study import withdrawn
from normfed_common.wire.messages import error_code
from normfed_server.coordinator import Coordinator
from normfed_server.events.kinds import AskedAgain
from normfed_server.runs.withdrawing import mark_withdrawn
from normfed_server.sites.asking import Interrupted
from normfed_server.sites.counters import KeptCounters
from normfed_server.sites.delivery import Delivery
from normfed_server.sites.heads import Books
from normfed_server.sites.participants import Admitted
from normfed_server.state import admission
from normfed_server.state.chain import chain_of
from normfed_server.state.fleet import FleetNotes
from normfed_server.state.folder import ServerHome, open_home, run_folder
from normfed_server.state.notes import COORDINATOR, CRASH, EXCUSED, LOG, OPTIONS, OUTCOME, replaces

EXCUSED_S = 0.5  # between two looks at whom the operator excused
CONCURRENT_ARMS = 16  # models trained at the same time: local models need one site each

logger = logging.getLogger(__name__)


def run(grid: Grid, name: str, flower_run: int, home_folder: Path) -> None:
    """Run or resume the study of a run, as one of Flower's.

    How it ended is written to the run's folder: an outcome where words can fix it, or else the error for whoever
    looks after open runs, who tries again. The run's log has the reason of every end that is not a kill.
    """
    home = open_home(home_folder)
    folder = run_folder(home, name)
    # A coordinator whose SuperLink gave it up may live a little longer: never two on one folder.
    with exclusive(folder / "lock"), _logging_to(folder / LOG):
        write_json(folder / COORDINATOR, _myself(flower_run))
        try:
            _coordinate(grid, folder, home)
        except Interrupted:
            logger.warning("told to stop")
            return
        except Exception as error:
            _note(folder, flower_run, error)
            raise
        write_json(folder / OUTCOME, {"state": "finished", "why": ""})


class MembersOfRun:
    """The nodes of those whom a run may ask: of a run that replaces another that one's sites, less who withdrew.

    A note that cannot be read asks nobody (`RunError`).
    """

    def __init__(self, folder: Path, home: ServerHome) -> None:
        self.folder, self.home = folder, home
        self._only = replaces(folder)

    def __call__(self) -> dict[str, int]:
        """By site, as of now."""
        gone = withdrawn.read(self.folder).whole
        found = {site: node for site, node in admission.nodes(self.home).items() if site not in gone}
        return found if self._only is None else {s: node for s, node in found.items() if s in self._only.sites}


class MarkingCounters(KeptCounters):
    """Those of all runs; a site's word that it withdrew marks the runs of the study that were made with it."""

    def __init__(self, home: ServerHome, books: Books, study: str) -> None:
        super().__init__(home.counters, books)
        self._home, self._study = home, study
        self._marked: set[str] = set()

    def arrived(self, site: str, request: Message, reply: Message) -> Message:
        """See `Counters`."""
        reply = super().arrived(site, request, reply)
        if reply.has_error() and error_code(reply) is SiteCode.WITHDRAWN and site not in self._marked:
            self._marked.add(site)
            for name in mark_withdrawn(self._home, self._study, site):
                logger.warning("%s withdrew; %s is marked", site, name)
        return reply


class Excused:
    """Whom a run need not wait for: sites that the operator excused, or revoked meanwhile; as of a moment ago."""

    def __init__(self, folder: Path, home: ServerHome) -> None:
        self.folder, self.home = folder, home
        self._sites: frozenset[str] = frozenset()
        self._read_at = -math.inf

    def __call__(self) -> frozenset[str]:
        """Their names."""
        if time.monotonic() - self._read_at > EXCUSED_S:
            self._read_at = time.monotonic()
            revoked = {name for name, member in admission.members(self.home).items() if member.state == "revoked"}
            self._sites = frozenset(_read(self.folder / EXCUSED, [])) | revoked
        return self._sites


def _note(folder: Path, flower_run: int, error: Exception) -> None:
    """Write down what ended the run's process: for the log, and for who decides whether to try again."""
    if isinstance(error, NormfedError):
        logger.error("stopped: %s", error)
        write_json(folder / OUTCOME, {"state": "failed", "why": str(error)})
        return
    logger.error("crashed\n%s", "".join(traceback.format_exception(error)))
    if isinstance(error, OSError) and is_full(error):
        why = f"{folder}: the disk is full. Free some space, then: normfed server resume {folder.name}"
        write_json(folder / OUTCOME, {"state": "failed", "why": why})
        return
    # Without the SuperLink nothing can be done: that is no error of this process.
    lost = isinstance(error, httpx.TransportError)
    why = f"{type(error).__name__}: {error}"
    write_json(folder / CRASH, {"flower_run": flower_run, "lost": lost, "why": why})


def _myself(flower_run: int) -> dict[str, Any]:
    """This process, so that nobody takes another with its number for it."""
    return {"pid": os.getpid(), "began": psutil.Process().create_time(), "flower_run": flower_run}


def _coordinate(grid: Grid, folder: Path, home: ServerHome) -> None:
    options = _read(folder / OPTIONS, {})
    hospitals = Admitted(
        members=MembersOfRun(folder, home),
        excused=Excused(folder, home),
        enrolled=lambda: admission.enrolled(home),
        canary=bool(options.get("canary", True)),
        counters=MarkingCounters(
            home, Books(chain_of(home), home.heads, partial(admission.accepted_key, home)), study_of_run(folder).digest
        ),
        hearing=FleetNotes(home, folder.name),
    )

    def again(node: int, why: str) -> None:
        site = next((name for name, number in hospitals.members().items() if number == node), "?")
        coordinator.events.say(AskedAgain(site=site, why=why))

    delivery = Delivery(grid, CONCURRENT_ARMS, again)
    coordinator = Coordinator(delivery, folder, hospitals)
    try:
        coordinator.run()
    finally:
        delivery.close()


def _read(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}). Remove it, and resume.") from error


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("normfed_server").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("normfed_server").removeHandler(handler)
        handler.close()
