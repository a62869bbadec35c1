"""What happens in a run, line by line: `events.jsonl` for machines, listeners for the screen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from normfed_server.events.fleeting import Fleeting
from normfed_server.events.kinds import Event

Listener = Callable[[Event | Fleeting], None]

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Subscribed:
    """Who listens, and whether that failed before."""

    listener: Listener
    failed: bool = False

    def tell(self, event: Event | Fleeting) -> None:
        """A screen that cannot draw, or a reader that went away, costs no round: the first failure is said."""
        try:
            self.listener(event)
        except Exception:
            if not self.failed:
                logger.exception("what listens to the events of this process failed, and the run goes on without it")
            self.failed = True


_listeners: list[_Subscribed] = []
_telling = threading.RLock()  # listeners are told one thing after the other, whichever threads they happen in


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call ``listener`` with every event of this process; returns how to stop it."""
    subscribed = _Subscribed(listener)
    _listeners.append(subscribed)
    return lambda: _listeners.remove(subscribed)


def pass_on(event: Event | Fleeting) -> None:
    """Tell the listeners, and write nothing."""
    with _telling:
        for subscribed in list(_listeners):
            subscribed.tell(event)


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
