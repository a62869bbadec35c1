"""What a site does with a damaged file of its own: sets it apart, says so, and lets it be made again.

Whoever answers a request names its site's log (`told`); elsewhere the process's log is used.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from normfed_common.foundation.files import set_apart

Say = Callable[[str], None]

_say: ContextVar[Say] = ContextVar("say", default=logging.getLogger("normfed_common.foundation.damage").warning)


@contextlib.contextmanager
def told(say: Say) -> Iterator[None]:
    """Tell ``say`` of everything that this thread finds damaged while the context lasts."""
    token = _say.set(say)
    try:
        yield
    finally:
        _say.reset(token)


def say(text: str) -> None:
    """Tell the site's own people something that no answer tells."""
    _say.get()(text)


def put_aside(path: Path, why: str, instead: str) -> None:
    """Rename a damaged file or folder and say so.

    Parameters
    ----------
    why
        How the damage shows.
    instead
        What is done without it, such as "the round begins again".
    """
    kept = set_apart(path)
    say(f"{path}: damaged ({why}). It is kept as {kept.name}; {instead}.")
