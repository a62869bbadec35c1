"""Files of a folder tree whose names say whose they are and what they show."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from normfed_client.imaging.cache import default_root
from normfed_common.foundation.errors import DatasetError

HIDDEN = (".", "__MACOSX")  # how names begin that no dataset means


def walk(root: Path) -> Iterator[Path]:
    """All files below ``root``, in the order of their names; nothing hidden, and nothing of a cache that lies there."""
    seen = {os.path.realpath(default_root())}
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back, or the cache
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith(HIDDEN))


def matches(root: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Files whose whole name matches, each with its match."""
    expression = re.compile(pattern)
    for path in walk(root):
        match = expression.fullmatch(path.name)
        if match:
            yield path, match


def by_person(root: Path, pattern: str) -> dict[str, dict[str, tuple[Path, re.Match[str]]]]:
    """Files by person and kind, the groups `person` and `kind` of the pattern.

    Raises
    ------
    DatasetError
        If there are two of one kind for a person.
    """
    found: dict[str, dict[str, tuple[Path, re.Match[str]]]] = defaultdict(dict)
    for path, match in matches(root, pattern):
        person, kind = match["person"], match["kind"] or ""
        if kind in found[person]:
            raise DatasetError(
                f"{root}: {person} is there twice, as {found[person][kind][0].relative_to(root)} and as "
                f"{path.relative_to(root)}. Keep one of the two."
            )
        found[person][kind] = (path, match)
    return dict(sorted(found.items()))
