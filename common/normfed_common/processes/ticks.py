"""Signs of life of long work: whoever works ticks with every scan, and whoever waits for it may listen.

A tick says that one more scan is done, not whose. Nothing keeps it, and where nobody listens, as at a hospital, it is
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Ticked = Callable[[], None]


def nobody() -> None:
    """Who listens by default."""


_listener: Ticked = nobody


def tick() -> None:
    """One more scan is done."""
    _listener()


@contextmanager
def heard(listener: Ticked) -> Iterator[None]:
    """Within, ``listener`` is called with every tick of this process."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
