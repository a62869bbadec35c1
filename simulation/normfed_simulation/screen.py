"""What a person sees while a study runs; or, with --json, what a program reads."""

from __future__ import annotations

import _thread
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.table import Column

from normfed_common.cli import unread
from normfed_common.wording.progress import Times
from normfed_common.wording.terminal_text import plain
from normfed_server.events import kinds
from normfed_server.events.fleeting import Answered, Fleeting, Scanned
from normfed_server.events.kinds import Event
from normfed_server.events.log import subscribe
from normfed_server.runs.folder import Run
from normfed_server.runs.following import Tail
from normfed_server.runs.wording import worded

NARROW, SHORT_BAR, BAR = 100, 8, 16  # columns: of a terminal with a short bar, which leaves room for the loss
TRAINING, EVALUATION = "Training", "Evaluation"
BEGINNING = "beginning"
WORK = {"evaluate.score": "scoring", "evaluate.measure": "measuring"}


class Screen:
    """Progress bars; where there is no terminal to draw them on (a log, a batch job), a line at every tenth."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<16}"),
            BarColumn(SHORT_BAR if console.width < NARROW else BAR, pulse_style="bar.back"),  # empty until it begins
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7, justify="right")),
            Times(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn(
                "[dim]{task.fields[detail]}[/]", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            console=console,
            expand=True,
        )
        self.tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}  # rounds, by arm
        self._evaluated: set[str] = set()
        self._answered: dict[str, float] = {}  # share of the answers, by arm
        self._scans: Counter[tuple[str, str]] = Counter()  # by arm and task
        self._sizes: dict[str, int] = {}  # people to score, by arm
        self._before: set[str] = set()  # arms that an earlier process evaluated

    def __enter__(self) -> Screen:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, what: str, total: int, done: int = 0, waits: bool = False) -> None:
        """See `Watcher`; ``done`` were, when this began, by an earlier process; what waits begins later."""
        if total:
            start = not waits or done == total
            task = self.progress.add_task(what, start, total, detail="" if waits else BEGINNING, before=done)
            self.tasks[what] = task
            self.progress.update(task, completed=done)  # all of them, perhaps: then it is finished
            self._log(what, done, total)

    def advance(self, what: str, detail: str = "") -> None:
        """See `Watcher`."""
        if what in self.tasks:
            self._reach(what, int(self.progress.tasks[self.tasks[what]].completed) + 1, detail)

    def _reach(self, what: str, done: float, detail: str, share: float | None = None) -> None:
        """So much is done; parts of a step move the bar, and are no line of a log.

        Parameters
        ----------
        share
            See `Times`.
        """
        if what in self.tasks:
            task = self.progress.tasks[self.tasks[what]]
            before, total = int(task.completed), int(task.total or 0)
            if not task.started:
                self.progress.start_task(task.id)
            self.progress.update(task.id, completed=done, detail="" if done >= total else detail, share=share)
            if int(done) * 10 // total > before * 10 // total:
                self._log(what, int(done), total)

    def _log(self, what: str, done: int, total: int) -> None:
        if not (self.console.is_terminal or self.console.is_jupyter):
            self.console.print(f"{time.strftime('%H:%M:%S')} {what}: {done} of {total}", highlight=False)

    def warn(self, text: str) -> None:
        """See `Watcher`."""
        self.progress.console.print(f"[yellow]![/] {plain(text)}", highlight=False)

    @contextlib.contextmanager
    def training(self, run: Run) -> Iterator[None]:
        """See `Watcher`."""
        self._done, self._evaluated, self._answered, self._scans = {}, set(), {}, Counter()
        for event in Tail(run.folder / "events.jsonl").new():  # of a run that is taken up again
            self._count(event)
        stop = subscribe(self._event)
        try:
            yield
        finally:
            stop()

    def _count(self, event: Event) -> None:
        match event:
            case kinds.RoundDone():
                self._done[event.arm] = event.round
            case kinds.Evaluated():
                self._evaluated.add(event.arm)
            case _:
                pass

    def _event(self, event: Event | Fleeting) -> None:
        if isinstance(event, Scanned | Answered):
            self._evaluating(event)
            return
        self._count(event)
        match event:
            case kinds.Planned():
                self._begin(event)
            case kinds.RoundDone():
                self._reach(TRAINING, sum(self._done.values()), _losses(event))
                return
            case kinds.Evaluated():
                self._evaluate(event.arm)
                return
            case _:
                pass
        for mark, text in worded(event):
            if mark in ("look", "bad"):
                self.warn(text)

    def _evaluating(self, event: Fleeting) -> None:
        """Show what is done of a model's evaluation while it goes on."""
        if isinstance(event, Answered):
            self._answered[event.arm] = event.done / event.total
            self._evaluate(f"{event.arm}: {event.done} of {event.total} answers")
        elif event.task in WORK:
            self._scans[event.arm, event.task] += 1
            self._evaluate(f"{event.arm}: {WORK[event.task]}, {self._scans[event.arm, event.task]} scans")

    def _evaluate(self, detail: str) -> None:
        """Models that are evaluated, and shares of those that are being so; those that score many are more work."""
        shares = self._answered | dict.fromkeys(self._evaluated, 1.0)
        since = {arm: size for arm, size in self._sizes.items() if arm not in self._before}
        work = sum(size * shares.get(arm, 0.0) for arm, size in since.items())
        self._reach(EVALUATION, sum(shares.values()), detail, share=work / max(sum(since.values()), 1))

    def _begin(self, event: kinds.Planned) -> None:
        rounds = {arm.name: arm.rounds for arm in event.arms}
        self._done = {arm: min(done, rounds[arm]) for arm, done in self._done.items() if arm in rounds}
        self._evaluated &= rounds.keys()
        self.begin(TRAINING, sum(rounds.values()), sum(self._done.values()))
        self._before = set(self._evaluated)
        self._sizes = {arm.name: sum(_scored(event.sites.get(site)) for site in arm.sites) for arm in event.arms}
        self.begin(EVALUATION, len(rounds), len(self._evaluated), waits=True)


def _scored(people: kinds.People | None) -> int:
    """How many of a site's people a model scores; of a site that does not tell, or has too few, one."""
    return max(people.held_out, 0) + max(people.test, 0) or 1 if people else 1


def _losses(event: kinds.RoundDone) -> str:
    losses = {site: loss for site, loss in event.loss.items() if loss is not None}
    if not losses:
        return f"{event.arm} round {event.round}: no site tells its loss"
    worst = max(losses, key=lambda site: losses[site])
    mean = sum(losses.values()) / len(losses)
    highest = f", highest {worst} {losses[worst]:.3f}" if len(losses) > 1 else ""
    return f"loss {mean:.3f}, {event.arm} round {event.round}{highest}"  # what is cut off is at the end


class JsonLines:
    """One JSON object per line on standard output, for scripts; without a reader (`| head`) it is as if by Ctrl-C."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def begin(self, what: str, total: int) -> None:
        """See `Watcher`."""
        self._say("begin", what=what, total=total)

    def advance(self, what: str, detail: str = "") -> None:
        """See `Watcher`."""
        self._say("done", what=what, detail=detail)

    def warn(self, text: str) -> None:
        """See `Watcher`."""
        self._say("warning", text=text)

    @contextlib.contextmanager
    def training(self, run: Run) -> Iterator[None]:
        """See `Watcher`."""
        stop = subscribe(lambda event: self._write(event.line()))
        try:
            yield
        finally:
            stop()

    def _say(self, event: str, **fields: str | int) -> None:
        self._write(json.dumps({"time": round(time.time(), 3), "event": event, **fields}))

    def _write(self, line: str) -> None:
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # to the main thread: a listener that raises would end nothing
            unread()
            _thread.interrupt_main()
