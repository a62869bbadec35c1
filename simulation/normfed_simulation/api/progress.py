"""How far along things are, in a terminal, in a notebook, in a log, or not at all."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from normfed_simulation.screen import Screen
from normfed_simulation.watcher import Silent, Watcher


@contextmanager
def watching(progress: bool | Watcher) -> Iterator[Watcher]:
    """Within, whoever shows how far along things are.

    Parameters
    ----------
    progress
        True for bars where they can be drawn (a terminal; a notebook where ipywidgets is installed), else a line at
        every tenth; False for nothing; or an object of one's own.
    """
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield Silent()
    else:
        with Screen(_console()) as screen:
            yield screen


def _console() -> Console:
    console = Console(stderr=True)
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        return Console(stderr=True, force_jupyter=False)  # a notebook without widgets shows lines
    return console
