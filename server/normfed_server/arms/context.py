"""What every arm of a run is trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from normfed_common.foundation.arrays import Arrays
from normfed_common.study.config import StudyConfig
from normfed_server.arms.virtual_clock import Pace
from normfed_server.events.log import EventLog
from normfed_server.sites.asking import Asker
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster


@dataclass(frozen=True)
class RunContext:
    """See the module; ``wall_clock``: see `Collection`, ``excused``: see `Closing`, ``secret``: see `Central`."""

    letterhead: Letterhead
    roster: Roster
    asker: Asker
    events: EventLog
    pace: Pace | None = None
    initial: Arrays | None = None
    wall_clock: bool = True
    excused: Callable[[], frozenset[str]] = frozenset
    secret: bytes = b""

    @property
    def study(self) -> StudyConfig:
        """What is studied."""
        return self.letterhead.study
