"""Who is told what sites say of their machines: an operator wants to know it between runs, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Hearing(Protocol):
    """Hears what becomes of the question who a site is."""

    def described(self, site: str, machine: Mapping[str, Any]) -> None:
        """A site said what its machine is: the fields of `Machine`."""
        ...

    def refused(self, site: str, code: int) -> None:
        """A site would not say anything."""
        ...

    def judged(self, unfit: Mapping[str, Sequence[str]]) -> None:
        """Sites that are asked to train, and why each is not fit to."""
        ...


class _Nobody:
    """In a simulation."""

    def described(self, site: str, machine: Mapping[str, Any]) -> None:
        """See `Hearing`."""

    def refused(self, site: str, code: int) -> None:
        """See `Hearing`."""

    def judged(self, unfit: Mapping[str, Sequence[str]]) -> None:
        """See `Hearing`."""


NOBODY = _Nobody()
