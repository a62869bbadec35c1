"""What happens in a run, line by line: `events.jsonl` for machines, listeners for the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from normfed_server.events.fleeting import Fleeting
from normfed_server.events.kinds import Event

Listener = Callable[[Event | Fleeting], None]

_listeners: list[Listener] = []
_telling = threading.RLock()  # listeners are told one thing after the other, whichever threads they happen in


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call ``listener`` with every event of this process; returns how to stop it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def pass_on(event: Event | Fleeting) -> None:
    """Tell the listeners, and write nothing."""
    with _telling:
        for listener in list(_listeners):
            listener(event)


class EventLog:
    """Appends events to a file, a line at a time, and tells the listeners."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def say(self, event: Event) -> None:
        """Record one event."""
        with self._lock:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(event.line() + "\n")
            pass_on(event)
