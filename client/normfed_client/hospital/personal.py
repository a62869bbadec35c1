"""What a site keeps of a federation for itself: personal parameters, control variates. It never leaves the site.

One file per round, so that a round that is asked again begins from what was there before it, not from its own outcome;
and of a damaged one, that of the round before is left.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import put_aside
from normfed_common.foundation.errors import DamagedError, SiteCode, SiteError
from normfed_common.foundation.files import DAMAGED

STALE = "a personal part was damaged on the site's disk; that of an earlier round was used"
NAME = re.compile(r"^round-(\d{6})\.safetensors(" + re.escape(DAMAGED) + r".*)?$")


class PersonalStore:
    """The personal state of one arm at one site.

    Parameters
    ----------
    folder
        Made when something is saved, with owner-only rights.
    whose
        What trains the arm: a state that something else left there is refused, as it may be covered by less noise.
        Any is read when empty.

    Attributes
    ----------
    notes
        What the server should know of what was loaded: fixed sentences.
    """

    def __init__(self, folder: Path, whose: str = "") -> None:
        self.folder, self.whose = folder, whose
        self.notes: tuple[str, ...] = ()

    def load(self, before: int, since: int = 0) -> Arrays:
        """The latest state of a round earlier than ``before``; empty where this site never had one.

        Parameters
        ----------
        since
            The last round whose update the server used; if there was one, there must be a state.

        Raises
        ------
        SiteError
            If there was a state, and none is left; or it is of another model or strategy.
        """
        earlier = [number for number in self._rounds() if number < before]
        for number in reversed(earlier):
            try:
                arrays, header = named.read(self._path(number))
            except DamagedError as error:
                put_aside(self._path(number), error.why, "that of an earlier round is used, if one is left")
                self.notes = (STALE,)
                continue
            if self.whose and header.get("whose", self.whose) != self.whose:
                raise SiteError(SiteCode.BAD_REQUEST, f"{self.folder}: another model or strategy was trained under it")
            return arrays
        if since or any(number < before for number in self._rounds(damaged=True)):
            raise SiteError(
                SiteCode.PERSONAL_PART_MISSING,
                f"{self.folder}: no personal part of this model is left from before the round that is asked. "
                "Copy one back from a backup; without it this site's part of the run is lost.",
            )
        return {}

    def digest(self, before: int) -> str:
        """Of what `load` would return, which alone says what is damaged; of nothing where nothing is left."""
        for number in reversed([number for number in self._rounds() if number < before]):
            with suppress(DamagedError):
                return digests.of_arrays("", named.load(self._path(number)))
        return digests.of_arrays("", {})

    def parts(self, names: frozenset[str], before: int, since: int = 0) -> Arrays:
        """Those arrays of these names that the state of `load` has; without names nothing is looked for."""
        kept = self.load(before, since) if names else {}
        return {name: array for name, array in kept.items() if name in names}

    def latest(self) -> Arrays:
        """The latest state of all; see `load`."""
        return self.load(sys.maxsize)

    def save(self, round: int, arrays: Arrays, since: int) -> None:
        """Keep the state after a round.

        Forgets what neither this round nor the one before, asked again by a server that lost a round, could need:
        what was there before each, and what the server last used then.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(round)
        named.save(path, arrays, {"since": since, "whose": self.whose})
        path.chmod(0o600)
        earlier = [number for number in self._rounds() if number < round]
        needed = min([since or round, *(self._since(number) for number in earlier[-1:]), *earlier[-2:]])
        for number in self._rounds():
            if number < needed or number > round:
                self._path(number).unlink()

    def _since(self, round: int) -> int:
        """What the server had last used when a state was saved; 0, so that nothing is forgotten, if that is damaged."""
        try:
            return int(named.header(self._path(round))["since"]) or round
        except DamagedError:
            return 0

    def _rounds(self, damaged: bool = False) -> list[int]:
        if not self.folder.is_dir():
            return []
        matches = [NAME.match(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in matches if match and bool(match[2]) is damaged)

    def _path(self, round: int) -> Path:
        return self.folder / f"round-{round:06d}.safetensors"
