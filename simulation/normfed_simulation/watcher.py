"""Whoever is told how far along things are."""

from __future__ import annotations

import contextlib
from typing import Protocol, runtime_checkable

from normfed_server.runs.folder import Run


@runtime_checkable
class Watcher(Protocol):
    """Shows a person, or a program, how far along things are."""

    def begin(self, what: str, total: int) -> None:
        """A step with ``total`` parts begins."""
        ...

    def advance(self, what: str, detail: str = "") -> None:
        """One part is done."""
        ...

    def warn(self, text: str) -> None:
        """Something to know; the study goes on."""
        ...

    def training(self, run: Run) -> contextlib.AbstractContextManager[None]:
        """Watch the federation while the context lasts."""
        ...


class Silent:
    """Says nothing."""

    def begin(self, what: str, total: int) -> None:
        """See `Watcher`."""

    def advance(self, what: str, detail: str = "") -> None:
        """See `Watcher`."""

    def warn(self, text: str) -> None:
        """See `Watcher`."""

    def training(self, run: Run) -> contextlib.AbstractContextManager[None]:
        """See `Watcher`."""
        return contextlib.nullcontext()
