"""Sites: who is invited, accepted, counted, shut out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from normfed_common.wording.commands import as_typed
from normfed_server.console.options import As, Home, Key, Site, signer
from normfed_server.state.folder import DEFAULT, ServerHome, open_home

if TYPE_CHECKING:
    from normfed_common.chain.kinds.server import Argument


def enrol(
    site: Site,
    home: Home = DEFAULT,
    again: Annotated[bool, typer.Option("--again", help="Write the file again.")] = False,
    people: Annotated[
        int | None, typer.Option(min=1, help="Count the site as at most this many people, whatever it claims.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long the invitation holds.")] = 30,
    operator: As = None,
    key: Key = None,
) -> None:
    """Invite a site: write the file to send to it."""
    opened = open_home(home)
    said: dict[str, Argument] = {"site": site, "again": again, "people": people, "days": days}
    if not done(opened, operator, key, "enrol", said):
        return
    console = Console(highlight=False)
    console.print(
        f"Send this file to {site} within {days} days; it holds no secret:\n  {opened.enrolments / site}.yaml",
        soft_wrap=True,
    )
    console.print(as_typed(f"When {site}.pub comes back: normfed server accept {site}.pub"))


def accept(
    path: Annotated[Path, typer.Argument(metavar="KEY", help="The public key that a hospital sent, SITE.pub.")],
    home: Home = DEFAULT,
    site: Annotated[str | None, typer.Option(help="Name of the site, if the file is not called SITE.pub.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the fingerprints have been compared.")] = False,
    operator: As = None,
    key: Key = None,
) -> None:
    """Admit a site with its key; a running federation is not disturbed."""
    from normfed_server.state import admission

    opened, called = open_home(home), site or path.stem
    line, fingerprint = admission.read_key(path)
    console = Console(highlight=False)
    console.print(f"The key of [bold]{called}[/]:  [bold]{fingerprint}[/]", soft_wrap=True)
    if not yes:
        typer.confirm(f"Did {called} read you the same over the telephone?", abort=True)
    if done(opened, operator, key, "accept", {"site": called, "key": line, "fingerprint": fingerprint}):
        console.print(f"{called} is accepted; it is let in as soon as the server runs.", soft_wrap=True)


def people(
    site: Site,
    count: Annotated[int, typer.Argument(min=1, help="The most people to count.")],
    home: Home = DEFAULT,
    operator: As = None,
    key: Key = None,
) -> None:
    """Count a site as at most so many people, whatever it claims."""
    if done(open_home(home), operator, key, "people", {"site": site, "count": count}):
        typer.echo(f"{site} is counted with at most {count} people, from the next start of a run on.")


def revoke(site: Site, home: Home = DEFAULT, operator: As = None, key: Key = None) -> None:
    """Shut a site out for good; its key is never accepted again."""
    if done(open_home(home), operator, key, "revoke", {"site": site}):
        typer.echo(f"{site} is shut out. Runs go on without it as their quorum allows.")


def done(home: ServerHome, operator: str | None, key: Path | None, command: str, said: Mapping[str, Argument]) -> bool:
    """Do what may need a second person; False, and a sentence, where it waits for one now."""
    from normfed_server.state import acting

    proposal = acting.do(home, signer(home, operator, key), command, said)
    if proposal is None:
        return True
    typer.echo(
        as_typed(
            f"{proposal.by} proposes: {command}. Nothing is changed until another operator, before "
            f"{proposal.until[:10]}, gives: normfed server approve {proposal.id}"
        )
    )
    return False
