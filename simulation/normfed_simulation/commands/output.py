"""How a command shows itself, how it is stopped, and what it ends with: for a person, or for a script."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from normfed_common.wording.commands import as_typed

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_simulation.watcher import Watcher

AGAIN = "Give the same command again: scans that are prepared are kept."


@dataclass(frozen=True)
class Output:
    """How a run shows itself, and what it ends with."""

    quiet: bool
    as_json: bool

    @property
    def silent(self) -> bool:
        """Whether nothing is shown to a person."""
        return self.quiet or self.as_json

    def watching(self, console: Console) -> AbstractContextManager[Watcher]:
        """Within, whoever shows how far along things are: bars for a person, lines for a script, or nothing."""
        from normfed_simulation.screen import JsonLines, Screen
        from normfed_simulation.watcher import Silent

        if self.quiet:
            return nullcontext(Silent())
        return JsonLines() if self.as_json else Screen(console)

    def told_to_scripts(self, page: Path, folder: Path) -> bool:
        """Print where the page of a run folder is, as scripts read it; False where a person is to be told."""
        if self.as_json:
            typer.echo(json.dumps({"event": "report", "path": str(page), "run": str(folder)}))
        elif self.quiet:
            typer.echo(page)
        return self.silent


class Terminated(KeyboardInterrupt):
    """A batch system, or whoever else sends TERM, wants this to end as Ctrl-C does."""


@contextmanager
def interrupted(console: Console, cure: Callable[[], str] = lambda: AGAIN) -> Iterator[None]:
    """Within, Ctrl-C ends with exit code 130 and TERM with 143, and with what goes on, on lines that can be copied."""
    try:
        with _terminated():
            yield
    except KeyboardInterrupt as stopped:
        console.print(f"\nStopped. {as_typed(cure())}", soft_wrap=True, highlight=False)
        raise typer.Exit(143 if isinstance(stopped, Terminated) else 130) from None


@contextmanager
def _terminated() -> Iterator[None]:
    """Within, TERM raises `Terminated`; elsewhere than in the main thread, which alone hears of it, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def resumable(console: Console, command: Callable[[], str], begun: Callable[[], bool]) -> Iterator[None]:
    """Within, Ctrl-C ends with exit code 130 and the command that goes on, in one line that can be copied; or with that
    nothing has ``begun``, and nothing is left."""
    with interrupted(
        console, lambda: f"Go on with:\n  {command()}" if begun() else f"Nothing was trained yet. {AGAIN}"
    ):
        yield
