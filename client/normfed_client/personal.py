"""What a site keeps of a federation for itself: personal parameters, control variates. It never leaves the site.

One file a round, so that a round that is asked again begins from what was there before it, not from its own outcome.
"""

from __future__ import annotations

import re
from pathlib import Path

from normfed_common import arrays as named
from normfed_common.arrays import Arrays

NAME = re.compile(r"^round-(\d{6})\.safetensors$")


class PersonalStore:
    """The personal state of one arm at one site.

    Parameters
    ----------
    folder
        Made when something is saved, with owner-only rights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, before: int) -> Arrays:
        """The latest state of a round earlier than ``before``; empty where there is none."""
        rounds = [number for number in self._rounds() if number < before]
        return named.load(self._path(max(rounds))) if rounds else {}

    def latest(self) -> Arrays:
        """The latest state of all; empty where there is none."""
        rounds = self._rounds()
        return named.load(self._path(max(rounds))) if rounds else {}

    def save(self, round: int, arrays: Arrays, since: int) -> None:
        """Keep the state after a round; forgets what neither this round nor one begun after ``since`` could need."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(round)
        named.save(path, arrays)
        path.chmod(0o600)
        needed = max([number for number in self._rounds() if number < round], default=round)
        for number in self._rounds():
            if number < min(needed, since or round) or number > round:
                self._path(number).unlink()

    def _rounds(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        matches = [NAME.match(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in matches if match)

    def _path(self, round: int) -> Path:
        return self.folder / f"round-{round:06d}.safetensors"
