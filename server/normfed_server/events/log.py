"""What happens in a run, line by line: `events.jsonl` for machines, listeners for the screen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from normfed_common.foundation.files import without_nan

Listener = Callable[[dict[str, Any]], None]

_listeners: list[Listener] = []


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call ``listener`` with every event of this process; gives back how to stop."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


class EventLog:
    """Appends events to a file, a line at a time, and tells the listeners."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def say(self, kind: str, **fields: Any) -> None:
        """Record one event."""
        event = without_nan({"time": round(time.time(), 3), "event": kind, **fields})
        with self._lock:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
            for listener in list(_listeners):
                listener(event)
