"""Pass a run on to a tracker: at its end, or while it goes on."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation.errors import RunError, UserError
from normfed_common.processes.supervision import is_running
from normfed_common.wording.installing import program, with_extra
from normfed_server.events.kinds import Failed, Planned, RoundDone
from normfed_server.results import layout
from normfed_server.results.layout import RunResults
from normfed_server.results.sharing import study_without_people, without_losses, without_single_people
from normfed_server.runs.at_work import is_at_work
from normfed_server.runs.folder import REPORT, Run, counts_only
from normfed_server.runs.following import EVERY_S, Tail
from normfed_server.state.folder import LEDGER
from normfed_server.state.ledger import Ledger, State
from normfed_server.tracking import telling
from normfed_server.tracking.telling import Listener, Parameter, Tracker
from normfed_server.tracking.uris import without_password

EXTRA = "export"
LIBRARIES = ("mlflow", "wandb")  # whose errors are of their own; others are of the system
LONGEST = 500  # letters of what a library says
_GONE = "Nothing has worked on it for a minute: its process ended without a word, or its server does not run."
REPORT_S = 600.0  # that a report may take once all figures are there; after it, there is none
GONE_S = 60.0  # that nobody may work on a run, which is begun, or whose server is restarted, without its being over


@dataclass(frozen=True)
class Asked:
    """A tracker that is asked for: by which option, where it is as people may read it, how it is made, and how people
    look at it once it is told."""

    option: str
    place: str
    make: Callable[[], Tracker]
    look: str = ""

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Within: what its library raises is a `UserError`."""
        try:
            yield
        except ImportError as error:
            raise UserError(f"{error.name or error} is not installed. Run: {with_extra(EXTRA)}") from error
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in LIBRARIES:
                raise
            why = without_password(" ".join(str(error).split()))[:LONGEST] or type(error).__name__
            cure = f"Give another {self.option}, or see that it can be reached and written to."
            raise UserError(f"{self.option} {self.place}: cannot be used ({why}). {cure}") from error


def asked_for(name: str, mlflow: str | None, tensorboard: Path | None, wandb_offline: Path | None) -> list[Asked]:
    """The trackers of a run of that name.

    Raises
    ------
    UserError
        If none is asked for.
    """
    from normfed_server.tracking.board import Board
    from normfed_server.tracking.mlflow_server import Mlflow
    from normfed_server.tracking.wandb_offline import WandbOffline

    found: list[Asked] = []
    if mlflow is not None:
        place = without_password(mlflow)
        found.append(Asked("--mlflow", place, lambda: Mlflow(mlflow, name), _with_mlflow(place)))
    if tensorboard is not None:
        look = f"{program('tensorboard')} --logdir {shlex.quote(str(tensorboard))}"
        found.append(Asked("--tensorboard", str(tensorboard), lambda: Board(tensorboard, name), look))
    if wandb_offline is not None:
        look = f"{program('wandb')} sync {shlex.quote(str(wandb_offline))}/wandb/offline-run-*, which sends it"
        found.append(Asked("--wandb-offline", str(wandb_offline), lambda: WandbOffline(wandb_offline, name), look))
    if not found:
        raise UserError("Say where to: --mlflow URI, --tensorboard DIR or --wandb-offline DIR.")
    return found


def _with_mlflow(place: str) -> str:
    """The page of a server; of a folder what shows it, which MLflow's small package, the extra's, does not have, and
    newer releases do only where they are told that a folder is meant."""
    if place.startswith(("http://", "https://")):
        return f"{place}, experiment normfed"
    command = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {shlex.quote(place)}"
    return f"{command} (once: {program('pip')} install mlflow)"


class Together:
    """Several trackers as one, open within ``with``; each is told at its end whether all was passed on.

    Raises
    ------
    UserError
        By every method, if the library of one is not installed, or it cannot be reached or written to.
    """

    def __init__(self, asked: Iterable[Asked]) -> None:
        self._asked = list(asked)
        self._open: list[tuple[Asked, Tracker]] = []

    def __enter__(self) -> Together:
        try:
            for one in self._asked:
                with one.answering():
                    self._open.append((one, one.make()))
        except BaseException:
            self._close(whole=False)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        wrong = self._close(whole=kind is None)
        if kind is None and wrong:
            raise wrong[0]

    def parameters(self, told: Mapping[str, Parameter]) -> None:
        """See `Tracker`."""
        self._each(lambda one: one.parameters(told))

    def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
        """See `Tracker`."""
        self._each(lambda one: one.scalars(told, step, time_s))

    def finals(self, told: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._each(lambda one: one.finals(told))

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        """See `Tracker`."""
        self._each(lambda one: one.artefacts(root, paths))

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for asked, tracker in self._open:
            with asked.answering():
                tell(tracker)

    def _close(self, whole: bool) -> list[UserError]:
        """Close every one, whatever happens to another; returns what went wrong."""
        wrong = []
        for asked, tracker in self._open:
            try:
                with asked.answering():
                    tracker.close(whole)
            except UserError as error:
                wrong.append(error)
        return wrong


def check(run: Run, *, patients: bool, follow: bool) -> None:
    """Refuse what cannot be passed on.

    Raises
    ------
    RunError
        If the run trains nothing, is not finished, or holds nothing of single patients where these are asked for.
    """
    if counts_only(run.folder):
        raise RunError(f"{run.folder}: counts and trains nothing, so there is nothing to export.")
    if patients and not run.sites_file.exists():
        raise RunError(
            f"{run.folder}: holds nothing of single patients, who never leave a hospital. Leave out --patients."
        )
    if not run.finished and not follow:
        raise RunError(f"{run.folder}: not finished. Add --follow to export it while it goes on.")


def pass_on(run: Run, tracker: Listener, *, patients: bool) -> None:
    """Tell a tracker of a finished run."""
    results = _results(run, patients=patients)
    tracker.parameters(telling.parameters(run.study if patients else study_without_people(run.study)))
    for arm, entry in telling.rounds(results):
        tracker.scalars(telling.scalars(arm, entry), entry.round, None)
    _end(run, tracker, patients=patients)


def follow(run: Run, tracker: Listener, *, patients: bool, wait: Callable[[float], None] = time.sleep) -> None:
    """Tell a tracker of a run from its beginning until its report, tables and figures are written, as it goes on.

    Raises
    ------
    RunError
        If the run ends without figures.
    """
    events = Tail(run.folder / "events.jsonl")
    tracker.parameters(telling.parameters(run.study if patients else study_without_people(run.study)))
    alone: set[str] = set()  # sites that learn from one person
    failed, waited_s, gone_s = "", 0.0, 0.0
    while True:  # how it stands is asked before the events are read, so that none is missed
        gone_s = 0.0 if _is_looked_after(run) else gone_s + EVERY_S
        over = waited_s >= REPORT_S or _reported(run)
        ended = _ended(run) or (_GONE if gone_s > GONE_S else "")
        for event in events.new():
            if isinstance(event, Planned) and not patients:
                alone = {site for site, people in event.sites.items() if people.train == 1}
            elif isinstance(event, RoundDone):
                (entry,) = without_losses((event,), alone)
                tracker.scalars(telling.scalars(event.arm, entry), event.round, event.time)
            failed = event.why if isinstance(event, Failed) and event.arm == FEDERATED else ""
        if over:
            break
        if run.finished:
            waited_s += EVERY_S
        elif why := ended or failed:
            raise RunError(f"{run.folder}: ended without figures. {why} Resume the run, and export it again.")
        wait(EVERY_S)
    _end(run, tracker, patients=patients)


def _is_looked_after(run: Run) -> bool:
    """Whether a process works on the run, or the server that goes on with it runs."""
    server = run.folder.resolve().parents[1]
    return is_at_work(run.folder) or ((server / LEDGER).exists() and is_running(server / "log"))


def _reported(run: Run) -> bool:
    """Whether the report of its figures is written."""
    report, metrics = run.folder / REPORT, run.folder / layout.FILE
    try:
        return report.stat().st_mtime_ns >= metrics.stat().st_mtime_ns
    except FileNotFoundError:
        return False


def _ended(run: Run) -> str:
    """What is wrong with a run that nothing happens in any more, though its events do not say so; empty else."""
    if not run.folder.exists():
        return "Its folder was removed."
    ledger = run.folder.resolve().parents[1] / LEDGER
    entries = Ledger(ledger).all() if ledger.exists() else []  # of the server whose run it is
    found = next((entry for entry in entries if entry.name == run.folder.name), None)
    if found is None or found.state not in (State.STOPPED, State.FAILED):
        return ""
    return "The operator stopped it." if found.state is State.STOPPED else f"It failed: {found.why}"


def _end(run: Run, tracker: Listener, *, patients: bool) -> None:
    tracker.finals(telling.finals(_results(run, patients=patients)))
    with telling.artefacts(run, patients=patients) as (root, paths):
        tracker.artefacts(root, paths)


def _results(run: Run, *, patients: bool) -> RunResults:
    results = layout.read(run.folder)
    return results if patients else without_single_people(results)
