"""Which sites may take part: invited, accepted with a key of their own, revoked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from normfed_common.chain.kinds.server import Membership
from normfed_common.deployment import bundle, enrolment, settings
from normfed_common.deployment.enrolment import Enrolment
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import exclusive
from normfed_common.foundation.versions import PROTOCOL, installed_version
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName, not_meant_otherwise
from normfed_server.state.chain import key_of, record
from normfed_server.state.folder import ServerHome

NODES = "nodes.json"  # what the SuperLink knows of the sites; written by whoever looks after it


class Member(Frozen):
    """A site, as the operator sees it."""

    state: Literal["invited", "accepted", "revoked"]
    key: str = Field("", max_length=2000, description="public, in OpenSSH's format")
    fingerprint: str = ""
    changed: str = Field(description="when the state last changed")
    until: str | None = Field(None, description="that its invitation holds, UTC; absent where it does not end")
    people: int | None = Field(None, ge=1, description="that it is counted with at most in a study, whatever it says")


class Members(Frozen):
    """All sites."""

    sites: dict[SiteName, Member] = Field(default_factory=dict)


def members(home: ServerHome) -> dict[str, Member]:
    """All sites, by name.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if not home.sites.exists():
        return {}
    try:
        return dict(sorted(Members.model_validate_json(home.sites.read_text()).sites.items()))
    except (OSError, ValidationError) as error:
        raise UserError(f"{home.sites}: damaged ({' '.join(str(error).split())}). Restore it from a backup.") from error


def known(home: ServerHome, site: str) -> Member:
    """One site.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    found = members(home)
    if site not in found:
        raise UserError(f"No site is called {site}. Sites: {', '.join(found) or 'none'}.")
    return found[site]


def accepted_key(home: ServerHome, site: str) -> str:
    """The public key of a site that may take part now; empty of any other."""
    member = members(home).get(site)
    return member.key if member is not None and member.state == "accepted" else ""


def enrol(home: ServerHome, site: str, again: bool = False, people: int | None = None, days: int | None = None) -> Path:
    """Invite a site; returns the path of the file to send.

    Parameters
    ----------
    people
        That the site is counted with at most; see `bound`.
    days
        That the invitation holds: a key that comes later is not accepted. None for as long as it takes.

    Raises
    ------
    UserError
        If the name is taken.
    """
    try:
        TypeAdapter(SiteName).validate_python(site)
    except ValidationError as error:
        raise UserError(f"{site!r} cannot be a site's name: letters, digits, dot, hyphen and underscore.") from error
    try:
        not_meant_otherwise(site)
    except ValueError as error:
        raise UserError(
            f"{site!r} cannot be a site's name: {error}. Choose another, such as hospital-{site}."
        ) from error
    with _changing(home) as sites:
        if site in sites and not (again and sites[site].state == "invited"):
            raise UserError(
                f"{site} is {sites[site].state} already. To write its file again before it is accepted: normfed server "
                f"enrol {site} --again. To change how many people it counts with: normfed server people {site} N"
            )
        if people is None and site in sites:
            people = sites[site].people
        record(home, Membership(kind="invited", site=site, people=people))
        path = _invite(home, site)
        until = _later(days) if days is not None else None
        sites[site] = Member(state="invited", changed=_now(), people=people, until=until)
    return path


def _invite(home: ServerHome, site: str) -> Path:
    """Write the file that a site is sent."""
    invitation = Enrolment(
        federation=home.config.name,
        site=site,
        address=home.config.address,
        ca=home.ca.read_text(),
        ca_fingerprint=home.fingerprint(),
        bundle=bundle.digest(),
        version=installed_version(),
        audit_key=key_of(home).line,
        protocol=PROTOCOL,
    )
    path: Path = home.enrolments / f"{site}.yaml"
    settings.write(path, invitation)
    return path


def bound(home: ServerHome, site: str, people: int) -> None:
    """Count a site with at most so many people from the next start of a run on, whatever it says.

    Raises
    ------
    UserError
        If there is no such site.
    """
    with _changing(home) as sites:
        sites[site] = known(home, site).model_copy(update={"people": people})
        record(home, Membership(kind="bounded", site=site, people=people))


def enrolled(home: ServerHome) -> dict[str, int]:
    """Sites and the people that they are counted with at most, where the operator said it."""
    return {site: member.people for site, member in members(home).items() if member.people is not None}


def read_key(path: Path) -> tuple[str, str]:
    """A public key file of a site; returns the line and its fingerprint.

    Raises
    ------
    UserError
        If it is not one.
    """
    try:
        line = path.read_bytes().strip()
        return line.decode("ascii"), enrolment.key_fingerprint(line)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        if b"PRIVATE KEY" in (path.read_bytes() if path.is_file() else b""):
            raise UserError(
                f"{path}: is a PRIVATE key. It must never leave the hospital: have it deleted here and there, and a "
                "new one made with `normfed site join`."
            ) from error
        raise UserError(f"{path}: not a site's public key ({error}). Ask for the file SITE.pub.") from error


def accept(home: ServerHome, site: str, key: str, fingerprint: str) -> None:
    """Admit a site with its key.

    Raises
    ------
    UserError
        If it was not invited, or too long ago, or the key is or was another site's.
    """
    with _changing(home) as sites:
        if site not in sites:
            raise UserError(f"{site} was not invited. First: normfed server enrol {site}")
        if sites[site].state == "accepted":
            raise UserError(f"{site} is accepted already, with the key {sites[site].fingerprint}. Revoke it first.")
        until = sites[site].until
        if until is not None and until <= _now():
            raise UserError(
                f"The invitation of {site} ended on {until[:10]}. If it still holds, ask the hospital, then write it "
                f"again and accept the same key: normfed server enrol {site} --again"
            )
        for name, member in sites.items():
            if member.fingerprint == fingerprint:
                raise UserError(
                    f"This key is or was that of {name} ({member.state}). A key is never used again: have a new one "
                    "made with `normfed site join`."
                )
        record(home, Membership(kind="accepted", site=site, fingerprint=fingerprint))
        changes = {"state": "accepted", "key": key, "fingerprint": fingerprint, "changed": _now(), "until": None}
        sites[site] = sites[site].model_copy(update=changes)


def revoke(home: ServerHome, site: str) -> None:
    """Shut a site out; its key is never accepted again.

    Raises
    ------
    UserError
        If there is no such site.
    """
    with _changing(home) as sites:
        sites[site] = known(home, site).model_copy(update={"state": "revoked", "changed": _now()})
        record(home, Membership(kind="revoked", site=site, fingerprint=sites[site].fingerprint))


def nodes(home: ServerHome) -> dict[str, int]:
    """Accepted sites and their nodes, as far as the SuperLink knows them."""
    accepted = {name for name, member in members(home).items() if member.state == "accepted"}
    return {name: int(node["id"]) for name, node in seen(home).items() if name in accepted}


def seen(home: ServerHome) -> dict[str, dict[str, Any]]:
    """What the SuperLink said of the sites when it was last asked."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((home.folder / NODES).read_text())
    except (OSError, ValueError):
        return {}
    return found


def write_seen(home: ServerHome, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what the SuperLink says of the sites."""
    write_json(home.folder / NODES, found)


@contextlib.contextmanager
def _changing(home: ServerHome) -> Iterator[dict[str, Member]]:
    """All sites, to be changed by one process at a time; written when the context ends without an error."""
    with exclusive(home.sites.with_suffix(".lock")):
        sites = members(home)
        yield sites
        write_json(home.sites, Members(sites=sites).model_dump(mode="json", exclude_none=True))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _later(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
