"""Named plug-ins: registered under the name that a study uses, listed in the error when a name is not known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from normfed_common.foundation.errors import StudyError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from name to plug-in of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Register ``entry``; a name is taken only once."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise StudyError(f"No {self.kind} is called {name!r}. Known: {', '.join(sorted(self._entries))}.")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))
