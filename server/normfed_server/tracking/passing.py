"""Pass a run on to a tracker: at its end, or while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation.errors import RunError, UserError
from normfed_server.events.kinds import Failed, RoundDone
from normfed_server.results import layout
from normfed_server.runs.folder import REPORT, Run, counts_only
from normfed_server.runs.following import EVERY_S, Tail
from normfed_server.state.folder import LEDGER
from normfed_server.state.ledger import Ledger, State
from normfed_server.tracking import telling
from normfed_server.tracking.telling import Parameter, Tracker

EXTRA = "normfed[export]"
REPORT_S = 600.0  # that a report may take once all figures are there; after it, there is none


def trackers(
    name: str, mlflow: str | None, tensorboard: Path | None, wandb_offline: Path | None
) -> list[Callable[[], Tracker]]:
    """Those that are asked for, each made when it is called.

    Raises
    ------
    UserError
        If none is.
    """
    from normfed_server.tracking.board import Board
    from normfed_server.tracking.mlflow_server import Mlflow
    from normfed_server.tracking.wandb_offline import WandbOffline

    found: list[Callable[[], Tracker]] = []
    if mlflow is not None:
        found.append(lambda: Mlflow(mlflow, name))
    if tensorboard is not None:
        found.append(lambda: Board(tensorboard, name))
    if wandb_offline is not None:
        found.append(lambda: WandbOffline(wandb_offline, name))
    if not found:
        raise UserError("Say where to: --mlflow URI, --tensorboard DIR or --wandb-offline DIR.")
    return found


def opened(makers: Iterable[Callable[[], Tracker]]) -> list[Tracker]:
    """Trackers that are asked for.

    Raises
    ------
    UserError
        If the library of one is not installed.
    """
    try:
        return [make() for make in makers]
    except ImportError as error:
        raise UserError(f"{error.name or error} is not installed. Run: pip install '{EXTRA}'.") from error


class Together:
    """Several trackers as one `Tracker`."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def parameters(self, told: Mapping[str, Parameter]) -> None:
        """See `Tracker`."""
        for one in self._trackers:
            one.parameters(told)

    def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
        """See `Tracker`."""
        for one in self._trackers:
            one.scalars(told, step, time_s)

    def finals(self, told: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for one in self._trackers:
            one.finals(told)

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        """See `Tracker`."""
        for one in self._trackers:
            one.artefacts(root, paths)

    def close(self) -> None:
        """See `Tracker`."""
        for one in self._trackers:
            one.close()


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


def pass_on(run: Run, tracker: Tracker, *, patients: bool) -> None:
    """Tell a tracker of a finished run."""
    results = layout.read(run.folder)
    tracker.parameters(telling.parameters(run.study))
    for arm, entry in telling.rounds(results):
        tracker.scalars(telling.scalars(arm, entry), entry.round, None)
    _end(run, tracker, patients=patients)


def follow(run: Run, tracker: Tracker, *, patients: bool, wait: Callable[[float], None] = time.sleep) -> None:
    """Tell a tracker of a run from its beginning until its report is written, as it goes on.

    Raises
    ------
    RunError
        If the run ends without figures.
    """
    events = Tail(run.folder / "events.jsonl")
    tracker.parameters(telling.parameters(run.study))
    failed, waited_s = "", 0.0
    while True:
        over, ended = waited_s >= REPORT_S or _reported(run), _ended(run)  # before the events, so that none is missed
        for event in events.new():
            if isinstance(event, RoundDone):
                tracker.scalars(telling.scalars(event.arm, event), event.round, event.time)
            failed = event.why if isinstance(event, Failed) and event.arm == FEDERATED else ""
        if over:
            break
        if run.finished:
            waited_s += EVERY_S
        elif why := ended or failed:
            raise RunError(f"{run.folder}: ended without figures. {why} Resume the run, and export it again.")
        wait(EVERY_S)
    _end(run, tracker, patients=patients)


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
    state = next((entry.state for entry in entries if entry.name == run.folder.name), State.OPEN)
    return "The operator stopped it." if state is State.STOPPED else ""


def _end(run: Run, tracker: Tracker, *, patients: bool) -> None:
    tracker.finals(telling.finals(layout.read(run.folder)))
    tracker.artefacts(run.folder, telling.artefacts(run, patients=patients))
