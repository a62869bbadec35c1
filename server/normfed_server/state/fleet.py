"""What the sites last said of their machines, in any run: between runs nobody can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from normfed_common.foundation.errors import SITE_CODES
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_server.state.folder import ServerHome


class Refused(Frozen):
    """A site would not say anything."""

    time: str
    run: str
    code: int = Field(ge=SITE_CODES.start, lt=SITE_CODES.stop)


class Heard(Frozen):
    """What a site last said.

    Parameters
    ----------
    machine
        Versions, memory, disk, GPU (`wire.answers.Machine`, whose module is too much to load for a table); empty
        where the site never said any.
    time, run
        When and in which run it said so.
    unfit
        Why it was not fit for that run.
    refused
        Its refusal, if that came last.
    """

    time: str = ""
    run: str = ""
    machine: dict[str, str | int | float] = Field(default_factory=dict, max_length=40)
    unfit: tuple[str, ...] = ()
    refused: Refused | None = None


class _Sites(Frozen):
    sites: dict[SiteName, Heard] = Field(default_factory=dict)


def heard(home: ServerHome) -> dict[str, Heard]:
    """What each site last said; of a file that is damaged nothing, for sites say it again in the next run."""
    try:
        return dict(_Sites.model_validate_json(home.fleet.read_text(encoding="utf-8")).sites)
    except (OSError, ValueError, ValidationError):
        return {}


class FleetNotes:
    """Writes down what is heard in a run; several runs may do so at the same time."""

    def __init__(self, home: ServerHome, run: str) -> None:
        self.home, self.run = home, run

    def described(self, site: str, machine: Mapping[str, Any]) -> None:
        """A site said what its machine is."""
        self._note({site: {"time": _now(), "run": self.run, "machine": dict(machine), "unfit": (), "refused": None}})

    def refused(self, site: str, code: int) -> None:
        """A site would not say anything; what it said before stays."""
        self._note({site: {"refused": Refused(time=_now(), run=self.run, code=code)}})

    def judged(self, unfit: Mapping[str, Sequence[str]]) -> None:
        """Why sites are not fit for the run; none of the others."""
        self._note({site: {"unfit": tuple(why)} for site, why in unfit.items()})

    def _note(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        with exclusive(self.home.fleet.with_suffix(".lock")):
            sites = heard(self.home)
            for site, values in changes.items():
                sites[site] = sites.get(site, Heard()).model_copy(update=dict(values))
            write_json(self.home.fleet, _Sites(sites=dict(sorted(sites.items()))).model_dump(mode="json"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
