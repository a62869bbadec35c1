"""`normfed site ...`: a hospital's client, for an IT team that need not know federated learning."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from normfed_client.hospital.folder import DEFAULT, open_hospital
from normfed_client.operation.commands import approving
from normfed_client.operation.commands.auditing import audit
from normfed_client.operation.commands.forgetting import forget
from normfed_client.operation.commands.paging import page
from normfed_client.operation.commands.quality import quality
from normfed_common.deployment.terminal import print_wrapped
from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from normfed_client.operation.link import Finding

INDENT = 15  # of what was found, in columns

site = typer.Typer(help="A hospital's client: join a federation, check, start it.", no_args_is_help=True)
site.command()(audit)

approving.add_to(site)
site.command()(quality)
site.command()(page)
site.command()(forget)

Home = Annotated[Path, typer.Option("--home", help="The site's folder.", envvar="NORMFED_SITE_HOME")]


@site.command()
def join(
    enrolment: Annotated[Path, typer.Argument(help="The file that the operator sent.")],
    data: Annotated[Path, typer.Option(help="The BIDS dataset; only read, never sent.")],
    owns: Annotated[
        list[str] | None, typer.Option(help="Values of its column `site` that take part. Repeatable. Default: all.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="What `normfed site leave` kept, if this hospital was in a federation before.")
    ] = None,
    home: Home = DEFAULT,
) -> None:
    """Make this hospital's key and its folder."""
    from normfed_client.operation.checking import counted_apart
    from normfed_client.operation.joining import join as join_federation
    from normfed_common.deployment.enrolment import key_fingerprint, load

    invitation = load(enrolment)
    joined = join_federation(invitation, home, data, tuple(owns or ()), record)
    console = Console(highlight=False)
    console.print(f"[bold]{invitation.site}[/] can join [bold]{invitation.federation}[/]. Two things are left:\n")
    console.print(f"1. Send this file to the operator; it is not secret:\n     {joined.public_key}\n", soft_wrap=True)
    console.print("2. Compare by telephone, so that nobody stands in between:")
    console.print(f"     this hospital's key      [bold]{joined.key_fingerprint}[/]", soft_wrap=True)
    console.print(f"     the federation's server  [bold]{invitation.ca_fingerprint}[/]", soft_wrap=True)
    if invitation.audit_key:
        console.print(f"     the server's audit.pub   [bold]{key_fingerprint(invitation.audit_key.encode())}[/]")
    console.print()
    console.print(
        as_typed(
            f"The key {home / 'site.key'} never leaves this machine. What this hospital allows is in "
            f"{home / 'site.yaml'}.\n"
            "Back up people.secret, releases.sqlite, ledger.sqlite, audit.jsonl and decisions.json together: without "
            "the first three nothing leaves, without the audit nothing can be proven.\n"
            "Next: normfed site check, then normfed site start. No study runs here before a person approved it: "
            "normfed site asked lists what was asked for, normfed site show and normfed site approve decide."
        ),
        soft_wrap=True,
    )
    for finding in counted_apart(open_hospital(home)):
        _show(console, finding)


@site.command()
def check(
    home: Home = DEFAULT,
    quick: Annotated[bool, typer.Option("--quick", help="Look at the names of scans only; open none.")] = False,
) -> None:
    """Check certificates, clock, link, disk, GPU, data and versions; say how to fix what is wrong."""
    from normfed_client.operation.checking import examine

    console = Console(highlight=False)
    worst = 0
    for finding in examine(open_hospital(home), opening_scans=not quick):
        _show(console, finding)
        worst = max(worst, finding.severity)
    if worst == 2:
        console.print("\n[red]Not ready.[/] Fix what is marked ✗ and check again.", soft_wrap=True)
        raise typer.Exit(2)
    console.print(as_typed("\nReady: normfed site start"))


def _show(console: Console, finding: Finding) -> None:
    """Mark, what, found; below them what to do, and what to paste."""
    mark = ("[green]✓[/]", "[yellow]![/]", "[red]✗[/]")[finding.severity]
    print_wrapped(console, finding.found, " " * INDENT, f"{mark} {finding.what:<{INDENT - 2}}")
    print_wrapped(console, finding.cure, " " * (INDENT + 2), f"{'':<{INDENT}}→ ")
    if finding.copy:
        console.print(plain(finding.copy), soft_wrap=True)


@site.command()
def start(home: Home = DEFAULT) -> None:
    """Run the client until Ctrl-C: it keeps calling the server, and restarts whatever dies."""
    from normfed_client.operation.services import start as start_station
    from normfed_common.processes.supervision import stop_on_signals

    hospital = open_hospital(home)
    _say(f"{hospital.config.site} calls {hospital.config.server}. Logs: {hospital.log}. Stop with Ctrl-C.")
    start_station(hospital, stop_on_signals(), _say)
    _say("stopped.")


@site.command()
def status(home: Home = DEFAULT) -> None:
    """Show whether the client runs, whether it is connected, and what it did last."""
    from normfed_client.hospital.withdrawn import summary
    from normfed_client.operation.status import status

    hospital = open_hospital(home)
    found = status(hospital)
    console = Console(highlight=False)
    table = Table("process", "", "since", "starts again", "last end", box=None, pad_edge=False)
    for name, service in found.services.items():
        state = "[green]runs[/]" if service["pid"] else "[red]down[/]"
        since = datetime.fromtimestamp(service["since"]).strftime("%d %b %H:%M") if service["since"] else "–"
        table.add_row(name, state, since, str(service["restarts"]), service["last_end"] or "–")
    console.print(table)
    console.print(f"\n{hospital.config.site} at {hospital.config.server}: {found.sentence}", soft_wrap=True)
    with suppress(UserError):  # normfed site check says what is wrong with the record
        if gone := summary(hospital):
            console.print(f"{gone}.", soft_wrap=True)
    for line in found.last:
        console.print(f"[dim]{plain(line)}[/]", soft_wrap=True)
    if not found.running:
        raise typer.Exit(1)


@site.command()
def releases(home: Home = DEFAULT) -> None:
    """Show how many people this hospital has ever released anything about, and for which runs."""
    hospital = open_hospital(home)
    console = Console(highlight=False)
    found = hospital.releases().all()
    if not found:
        console.print("Nothing was released yet.")
        return
    table = Table("people", "what", "times", "first", "last", box=None, pad_edge=False)
    for release in found:
        days = (datetime.fromisoformat(day).astimezone().strftime("%d %b %Y") for day in (release.first, release.last))
        table.add_row(str(release.people), release.kind, str(release.times), *days)
        table.add_row("", f"[dim]{release.run}, {release.what}[/]")
    console.print(table)
    told = hospital.releases().cells()
    if told:
        families = ", ".join(f"{plain(name)} {count}" for name, count in told.items())
        console.print(f"\nCells told in statistics of cohorts: {families}", soft_wrap=True)
    console.print(
        f"\nEach row is one set of people, kept as keyed digests, with the run that it was last for. No combination of "
        f"rows is about fewer than {hospital.config.minimum_people} people (minimum_people of site.yaml).",
        soft_wrap=True,
    )


@site.command()
def ledger(
    as_json: Annotated[bool, typer.Option("--json", help="All entries, for programs.")] = False,
    home: Home = DEFAULT,
) -> None:
    """Show how much of its people's privacy this hospital has spent, and what is left of its budget."""
    from normfed_client.operation import spent

    hospital = open_hospital(home)
    entries = hospital.ledger().entries()
    if as_json:
        typer.echo(spent.as_json(entries, hospital.config))
        return
    spent.show(Console(highlight=False), entries, hospital.config)


@site.command()
def move(
    address: Annotated[str, typer.Argument(help="The server's new address, host:port.")],
    home: Home = DEFAULT,
) -> None:
    """Follow the server to a new address: check that it is the same federation, and write it to site.yaml."""
    from normfed_client.operation.moving import move as move_server

    hospital = open_hospital(home)
    move_server(hospital, address)
    typer.echo(as_typed(f"{hospital.config.site} calls {address} from now on. Next: normfed site start"))


@site.command()
def leave(
    home: Home = DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete this hospital's key and everything the federation left here; the dataset is not touched."""
    from normfed_client.operation.joining import keep_record, record_beside
    from normfed_common.processes.supervision import is_running

    hospital = open_hospital(home)
    if is_running(hospital.log):
        raise UserError(f"{home}: the client is running. Stop it first.")
    results, record = hospital.folder / "state", record_beside(hospital.folder)
    Console(highlight=False).print(
        as_typed(
            f"This deletes {hospital.folder}: the key, the outbox, and this hospital's own results in {results}.\n"
            f"The dataset {hospital.config.data} is not touched. Over whom anything was released stays in {record}: "
            "give it to normfed site join --record if this hospital joins again."
        ),
        soft_wrap=True,
    )
    if not yes:
        typer.confirm("Delete?", abort=True)
    keep_record(hospital, record)
    shutil.rmtree(hospital.folder)
    typer.echo(as_typed(f"Left. Tell the operator to shut the key out: normfed server revoke {hospital.config.site}"))


def _say(text: str) -> None:
    Console(highlight=False).print(f"[dim]{datetime.now():%H:%M:%S}[/] {plain(text)}", soft_wrap=True)
