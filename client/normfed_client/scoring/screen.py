"""What `normfed score` shows: progress, who was scored, who was not and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.problem_list import print_problems
from normfed_client.scoring.rows import FAILED, PersonScore, Scores
from normfed_client.scoring.scoring import ScoreListener
from normfed_common.glossary import BRAINS
from normfed_common.wording.progress import Times
from normfed_common.wording.terminal_text import plain, printable

NOTHING, SOME = 2, 3  # exit codes: nobody was scored, not everybody was
STOPPED = 130  # as shells have it of Ctrl-C
FOUND = "the network of that name and version found it"
COLUMNS = ("person", "98 % quantile", "abnormal", "clusters", "largest, ml", "brain")


class ScoreScreen(ScoreListener):
    """Progress on the error output; with ``as_json`` a line per person on the other."""

    def __init__(self, as_json: bool) -> None:
        self.rows: list[PersonScore] = []
        self._refused = 0
        self._as_json = as_json
        self._console = Console(stderr=True)
        self._at_once = as_json or self._console.is_terminal  # failures; else in the summary alone
        columns = (
            TextColumn("Scoring"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            Times(),
            TextColumn("{task.fields[now]}", markup=False),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task("", total=None, now="", before=0)

    def run(self, score: Callable[[ScoreListener], Scores]) -> int:
        """Score, show what comes of it, and return the exit code."""
        stopped = False
        try:
            with self._progress:
                out = score(self).out
        except KeyboardInterrupt:
            stopped, out = True, None
        if not self._as_json:
            self._summary(out)
        if stopped:
            self._console.print("[yellow]![/] Stopped. What is listed is whole; the same command goes on from there.")
            return STOPPED
        failed = [row for row in self.rows if row.status == FAILED]
        return 0 if not failed else SOME if len(failed) < len(self.rows) else NOTHING

    def noted(self, notes: Sequence[Problem]) -> None:
        """See `ScoreListener`."""
        print_problems(self._progress.console, notes, "Worth a look")

    def begun(self, people: int, refused: Sequence[PersonScore]) -> None:
        """See `ScoreListener`."""
        self._progress.update(self._task, total=people)
        self._refused = len(refused)
        self.rows += refused
        if self._at_once:
            print_problems(self._progress.console, _problems(refused), "Cannot be scored")
        for row in refused:
            self._print_json(row)

    def step(self, name: str, what: str) -> None:
        """See `ScoreListener`."""
        self._progress.update(self._task, now=printable(f"{what} {name}"))

    def done(self, row: PersonScore) -> None:
        """See `ScoreListener`."""
        self.rows.append(row)
        failed = sum(row.status == FAILED for row in self.rows) - self._refused  # how long one takes they do not show
        self._progress.update(self._task, completed=len(self.rows) - self._refused, before=failed)
        if row.status == FAILED and self._at_once:
            self.warn(f"{row.name}: {_why(row)}")
        for remark in row.remarks:
            self.warn(f"{row.name}: {remark}")
        self._print_json(row)

    def _print_json(self, row: PersonScore) -> None:
        if self._as_json:
            sys.stdout.write(json.dumps(row.as_json(), allow_nan=False) + "\n")
            sys.stdout.flush()

    def warn(self, text: str) -> None:
        """Say something that whoever uses the maps should know."""
        self._progress.console.print(f"[yellow]![/] {plain(text)}", highlight=False, soft_wrap=True)

    def _summary(self, out: Path | None) -> None:
        rows = sorted(self.rows, key=lambda row: row.name)
        scored = [row for row in rows if row.status != FAILED]
        console = Console(width=None if sys.stdout.isatty() else 200)
        if scored:
            table = Table()
            for number, column in enumerate(COLUMNS):
                table.add_column(column, justify="right" if 0 < number < len(COLUMNS) - 1 else "left")
            for row in scored:
                table.add_row(*map(plain, _cells(row)))
            console.print(table)
            console.print(f"[dim]{_explained(scored)}[/]", highlight=False)
            if any(row.abnormal_share is None for row in scored):
                console.print("[dim]The run has no threshold on this scale, so no share and no clusters.[/]")
        if not (self._at_once and sys.stdout.isatty()):  # else they stand above
            print_problems(console, _problems([row for row in rows if row.status == FAILED]), "Not scored")
        if out is not None:
            console.print(f"{len(scored)} of {len(rows)} scored: {plain(str(out))}", highlight=False, soft_wrap=True)


def _explained(scored: Sequence[PersonScore]) -> str:
    """What the columns mean, as far as they say anything."""
    found = [f"{brain}: {BRAINS.get(brain, FOUND)}" for brain in sorted({row.brain for row in scored if row.brain})]
    return f"98 % quantile: of the anomaly in the brain, to compare people of one run by. Brain, {'; '.join(found)}."


def _problems(rows: Sequence[PersonScore]) -> list[Problem]:
    return [Problem(row.name, _why(row)) for row in rows]


def _why(row: PersonScore) -> str:
    return row.reason.removeprefix(f"{row.name}: ")


def _cells(row: PersonScore) -> tuple[str, ...]:
    assert row.subject_score is not None
    return (
        row.name,
        f"{row.subject_score:.4g}",
        "–" if row.abnormal_share is None else f"{row.abnormal_share:.2%}",
        "–" if row.clusters is None else str(row.clusters),
        "–" if row.largest_cluster_ml is None else f"{row.largest_cluster_ml:.3g}",
        row.brain or "",
    )
