"""Watch a run from outside: its events as they are written, until the ledger says that it ended."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rich.console import Console

from normfed_common.processes.supervision import is_running
from normfed_common.wording.terminal_text import plain
from normfed_server.events.kinds import Event, parse
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import Entry, State

EVERY_S = 0.5


class Shown(Protocol):
    """Shows what happens."""

    def event(self, event: Event) -> None:
        """Something happened in the run."""
        ...

    def note(self, text: str) -> None:
        """Something to know of the server."""
        ...


def follow(home: ServerHome, name: str, shown: Shown) -> Entry:
    """Show every event of a run until it ends; returns how."""
    ledger, events = home.ledger, Tail(home.runs / name / "events.jsonl")
    told, why = False, ""
    while True:
        entry = ledger.get(name)
        for event in events.new():
            shown.event(event)
        if entry.state is not State.OPEN:
            return entry
        if entry.why and entry.why != why:
            shown.note(entry.why)
        why = entry.why
        if not told and not is_running(home.log):
            shown.note("the server does not run; start it: normfed server start")
            told = True
        time.sleep(EVERY_S)


class Tail:
    """New events of a file that grows, perhaps not there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0

    def new(self) -> Iterator[Event]:
        """What was added since the last look; a line that is not complete waits, one that is damaged is passed over."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._at)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._at += len(line)
                    if (event := parse(line)) is not None:
                        yield event
        except OSError:
            return


class Lines:
    """One JSON object per line on standard output, for scripts."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def event(self, event: Event) -> None:
        """See `Shown`."""
        self._write(event.line())

    def note(self, text: str) -> None:
        """See `Shown`."""
        self._write(json.dumps({"time": round(time.time(), 3), "event": "note", "text": text}))

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class Live:
    """A line for every thing worth a line, for a person."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def event(self, event: Event) -> None:
        """See `Shown`."""
        from normfed_server.runs.wording import worded

        for mark, text in worded(event):
            stamp = time.strftime("%H:%M:%S", time.localtime(event.time))
            self.console.print(f"[dim]{stamp}[/] {_MARKS[mark]} {plain(text)}", soft_wrap=True)

    def note(self, text: str) -> None:
        """See `Shown`."""
        self.console.print(f"[yellow]![/] {plain(text)}", soft_wrap=True)


_MARKS = {"good": "[green]✓[/]", "plain": " ", "look": "[yellow]![/]", "bad": "[red]✗[/]"}
