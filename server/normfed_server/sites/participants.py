"""Whose sites take part in a run: the processes of a simulation, or the hospitals that an operator admitted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flwr.serverapp import Grid

from normfed_common.study.config import StudyConfig
from normfed_server.sites.asking import Asker
from normfed_server.sites.counters import Counters
from normfed_server.sites.hearing import NOBODY, Hearing
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster


class Telling(Protocol):
    """Who is told what happens before the first round."""

    def connecting(self, sites: list[str]) -> None:
        """These are waited for."""
        ...

    def note(self, site: str, text: str) -> None:
        """What everybody should know of what a site said of itself."""
        ...


class Participants(Protocol):
    """What a run needs to know of its sites, whoever they are."""

    @property
    def deployed(self) -> bool:
        """Whether each has a clock, a machine and a link of its own: then patience runs out by the clock on the wall, a
        site may fail, and whether it is fit is checked before the first round."""
        ...

    @property
    def canary(self) -> bool:
        """Whether one batch per site is tried before the first round."""
        ...

    @property
    def hearing(self) -> Hearing:
        """Who is told what they say of their machines."""
        ...

    def asker(self, grid: Grid, stop: threading.Event, study: StudyConfig) -> Asker:
        """Asks them, as long as each is to be waited for."""
        ...

    def gathered(self, asker: Asker, letterhead: Letterhead, telling: Telling) -> Roster:
        """Who is there, once everybody is who is needed.

        Raises
        ------
        RunError
            If too few came, or one refuses.
        """
        ...


@dataclass(frozen=True)
class Simulated:
    """So many sites of one machine: every one is waited for, and must do what it is asked."""

    expected: int
    deployed = canary = False
    hearing = NOBODY

    def asker(self, grid: Grid, stop: threading.Event, study: StudyConfig) -> Asker:
        """See `Participants`."""
        return Asker(grid, stop)

    def gathered(self, asker: Asker, letterhead: Letterhead, telling: Telling) -> Roster:
        """See `Participants`."""
        roster = Roster(asker.grid, asker, letterhead)
        roster.wait_for(self.expected)
        return roster


@dataclass(frozen=True)
class Admitted:
    """Hospitals, each with a clock and a link of its own.

    Parameters
    ----------
    members
        Sites that the operator admitted, and their nodes, as of now.
    excused
        Sites that the operator said may be left out, as of now.
    enrolled
        How many people the operator enrolled sites with, where that was said.
    canary
        See `Participants`.
    counters
        Of the hospitals' ledgers.
    hearing
        See `Participants`.
    """

    members: Callable[[], Mapping[str, int]]
    excused: Callable[[], frozenset[str]]
    enrolled: Callable[[], Mapping[str, int]] = dict
    canary: bool = True
    counters: Counters | None = None
    hearing: Hearing = NOBODY
    deployed = True

    def asker(self, grid: Grid, stop: threading.Event, study: StudyConfig) -> Asker:
        """See `Participants`."""
        patience_s = study.federation.patience_s
        return Asker(grid, stop, patience_s, forgiving=True, excused=self.excused, counters=self.counters)

    def gathered(self, asker: Asker, letterhead: Letterhead, telling: Telling) -> Roster:
        """See `Participants`."""
        roster = Roster(asker.grid, asker, letterhead, self.members, self.enrolled, telling.note, self.hearing)
        roster.wait_for_members(self.excused, telling.connecting)
        return roster
