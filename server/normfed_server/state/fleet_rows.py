"""The fleet: each site as an operator wants to see it, by what is written down of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from normfed_common.foundation.errors import SiteCode
from normfed_common.foundation.versions import apart, installed_version, last_server, release
from normfed_server.state import admission
from normfed_server.state.fleet import Heard, heard
from normfed_server.state.folder import ServerHome


@dataclass(frozen=True)
class FleetRow:
    """One site.

    Parameters
    ----------
    state
        Invited; accepted, but never seen; connected; away; awaits approval of its hospital; revoked.
    online
        Whether the SuperLink has it connected, whatever its state.
    since
        When it was found connected or away; empty where it was never seen.
    people
        That the operator enrolled it with at most.
    heard, run
        When it last said what its machine is, and in which run.
    machine
        What it said: `wire.answers.Machine`.
    unfit
        Why it cannot take part, or was not fit for the run that it last was asked in.
    server_up_to
        The newest minor release of a server that its version works with; empty where its version is not known.
    """

    site: str
    state: str
    online: bool = False
    since: str = ""
    people: int | None = None
    heard: str = ""
    run: str = ""
    machine: dict[str, str | int | float] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()
    server_up_to: str = ""

    @property
    def fits(self) -> str:
        """In a word: `yes`, `no`, or `not known`."""
        return "no" if self.unfit else "yes" if self.machine else "not known"

    @property
    def version(self) -> str:
        """Of its normfed; empty where it never said."""
        return str(self.machine.get("normfed", ""))


def fleet(home: ServerHome, running: bool = True) -> list[FleetRow]:
    """All sites, by name; nobody is connected to a server that does not run."""
    said, seen, version = heard(home), admission.seen(home), installed_version()
    rows = []
    for site, member in admission.members(home).items():
        last, node = said.get(site, Heard()), seen.get(site, {})
        online = running and bool(node.get("online"))
        state = member.state if member.state != "accepted" else _state(last, bool(node), online)
        rows.append(
            FleetRow(
                site,
                state,
                online=online,
                since=str(node.get("since", "")) if member.state == "accepted" else "",
                people=member.people,
                heard=last.time,
                run=last.run,
                machine=dict(last.machine),
                unfit=tuple(_unfit(last, version)) if member.state == "accepted" else (),
                server_up_to=last_server(str(last.machine.get("normfed", ""))),
            )
        )
    return rows


def shut_out_next(rows: list[FleetRow]) -> list[FleetRow]:
    """Sites that take part today, and that the next minor release of the server would shut out."""
    here = release(installed_version())
    if here is None:
        return []
    coming = f"{here[0]}.{here[1] + 1}"
    left = [row for row in rows if row.version and row.state not in ("revoked", "invited")]
    return [row for row in left if apart(row.version, coming) and not apart(row.version, installed_version())]


def _state(last: Heard, seen: bool, online: bool) -> str:
    if last.refused is not None and SiteCode(last.refused.code).name == "AWAITS_APPROVAL":
        return "awaits approval"
    if not seen:
        return "accepted"
    return "connected" if online else "away"


def _unfit(last: Heard, version: str) -> list[str]:
    found = []
    if last.machine and (why := apart(str(last.machine.get("normfed", "")), version)):
        found.append(why)
    if last.refused is not None:
        code = SiteCode(last.refused.code)
        found.append(f"refused {last.refused.run}: {code.sentence} (code {int(code)})")
    return [*found, *last.unfit]
