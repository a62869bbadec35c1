"""Files and folders as Python names them: one or several."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

Place = str | PathLike[str]
Places = Place | Sequence[Place]


def paths(given: Places | None) -> list[Path]:
    """All of them; of a single one too, and none of None."""
    if given is None:
        return []
    return [Path(given)] if isinstance(given, str | PathLike) else [Path(place) for place in given]
