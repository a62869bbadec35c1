"""`normfed server ...`: an operator's central server."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from normfed_common.deployment.terminal import print_wrapped
from normfed_common.foundation.errors import UserError
from normfed_common.wording.terminal_text import plain
from normfed_server.console.auditing import audit
from normfed_server.console.fleet import fleet, warn
from normfed_server.state.folder import DEFAULT, open_home, run_folder

server = typer.Typer(help="The central server: enrol sites, start it, run studies.", no_args_is_help=True)
server.command()(audit)
server.command()(fleet)

Home = Annotated[Path, typer.Option("--home", help="The server's folder.", envvar="NORMFED_SERVER_HOME")]
Site = Annotated[str, typer.Argument(help="A site's name.")]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object per line, for scripts, by events.schema.json in normfed_server/events.",
    ),
]
RunName = Annotated[str, typer.Argument(help="A run's name; see `normfed server runs`.")]


@server.command()
def init(
    name: Annotated[str, typer.Option(help="Name of the federation, shown to sites.")],
    address: Annotated[str, typer.Option(help="host:port at which sites reach this server.")],
    home: Home = DEFAULT,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: that of the address.")] = None,
    listen: Annotated[str, typer.Option(help="IP address to listen on; :: for IPv6.")] = "0.0.0.0",
    monitor_port: Annotated[int, typer.Option(help="Port of the monitor, on this machine only.")] = 8080,
) -> None:
    """Make the server's folder: certificate authority, certificate, secrets."""
    from normfed_common.foundation.errors import StudyError
    from normfed_common.study.validation import validate
    from normfed_server.state.chain import make_key
    from normfed_server.state.folder import ServerConfig, create

    last = address.rpartition(":")[2]
    raw: dict[str, Any] = {"name": name, "address": address, "listen": listen, "monitor_port": monitor_port}
    raw["port"] = port if port is not None else int(last) if last.isdigit() else 8000
    try:
        config = validate(ServerConfig, raw, "normfed server init")
    except StudyError as error:
        raise UserError(f"{error} An address is host:port, such as federation.example.org:8000.") from error
    made = create(home, config)
    make_key(made)
    console = Console(highlight=False)
    console.print(f"[bold]{name}[/] at {address}. Everything is in {home}; back it up.", soft_wrap=True)
    console.print(
        f"Its fingerprint, to read to hospitals by telephone:\n  [bold]{made.fingerprint()}[/]", soft_wrap=True
    )
    console.print("Next: normfed server enrol SITE for every hospital, and normfed server start", soft_wrap=True)


@server.command()
def enrol(
    site: Site,
    home: Home = DEFAULT,
    again: Annotated[bool, typer.Option("--again", help="Write the file again.")] = False,
    people: Annotated[
        int | None, typer.Option(min=1, help="Count the site as at most this many people, whatever it claims.")
    ] = None,
) -> None:
    """Invite a site: write the file to send to it."""
    from normfed_server.state import admission

    path = admission.enrol(open_home(home), site, again, people)
    console = Console(highlight=False)
    console.print(f"Send this file to {site}; it holds no secret:\n  {path}", soft_wrap=True)
    console.print(f"When {site}.pub comes back: normfed server accept {site}.pub")


@server.command()
def accept(
    key: Annotated[Path, typer.Argument(help="The public key that a hospital sent, SITE.pub.")],
    home: Home = DEFAULT,
    site: Annotated[str | None, typer.Option(help="Name of the site, if the file is not called SITE.pub.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the fingerprints have been compared.")] = False,
) -> None:
    """Admit a site with its key; a running federation is not disturbed."""
    from normfed_server.state import admission

    opened, name = open_home(home), site or key.stem
    line, fingerprint = admission.read_key(key)
    console = Console(highlight=False)
    console.print(f"The key of [bold]{name}[/]:  [bold]{fingerprint}[/]", soft_wrap=True)
    if not yes:
        typer.confirm(f"Did {name} read you the same over the telephone?", abort=True)
    admission.accept(opened, name, line, fingerprint)
    console.print(f"{name} is accepted; it is let in as soon as the server runs.", soft_wrap=True)


@server.command()
def people(
    site: Site,
    count: Annotated[int, typer.Argument(min=1, help="The most people to count.")],
    home: Home = DEFAULT,
) -> None:
    """Count a site as at most so many people, whatever it claims."""
    from normfed_server.state import admission

    admission.bound(open_home(home), site, count)
    typer.echo(f"{site} is counted with at most {count} people, from the next start of a run on.")


@server.command()
def revoke(site: Site, home: Home = DEFAULT) -> None:
    """Shut a site out for good; its key is never accepted again."""
    from normfed_server.state import admission

    admission.revoke(open_home(home), site)
    typer.echo(f"{site} is shut out. Runs go on without it as their quorum allows.")


@server.command()
def renew(home: Home = DEFAULT) -> None:
    """Renew the server's certificate; sites notice nothing."""
    from normfed_common.chain.kinds import Reach
    from normfed_server.state import certificates
    from normfed_server.state.chain import record

    opened = open_home(home)
    opened.issue_certificate()
    record(opened, Reach(kind="renewed", address=opened.config.address))
    days = certificates.days_left(opened.certificate)
    typer.echo(f"Renewed for {days:.0f} days. A running server takes it up by itself.")


@server.command()
def move(
    address: Annotated[str, typer.Argument(help="host:port at which sites reach this server from now on.")],
    home: Home = DEFAULT,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: that of the address.")] = None,
) -> None:
    """Give the server another address; its sites keep their keys, and learn it with `normfed site move`."""
    from normfed_common.chain.kinds import Reach
    from normfed_server.state import admission
    from normfed_server.state.chain import record
    from normfed_server.state.folder import move as move_server

    opened = open_home(home)
    moved = move_server(opened, address, port)
    record(moved, Reach(kind="moved", address=address))
    console = Console(highlight=False)
    console.print(
        f"[bold]{moved.config.name}[/] is at {address} from the next start on. Its certificate is good for "
        f"{opened.config.host} too, until it is renewed.\nTell every site to run: normfed site move {address}",
        soft_wrap=True,
    )
    for site, member in admission.members(moved).items():
        if member.state == "invited":
            console.print(f"{site} has not joined yet; send a new file: normfed server enrol {site} --again")


@server.command()
def start(
    home: Home = DEFAULT,
    monitor: Annotated[bool, typer.Option(help="Serve the monitor, a web page on this machine.")] = True,
) -> None:
    """Run the server until Ctrl-C; open runs continue from their last round."""
    from normfed_common.processes.supervision import stop_on_signals
    from normfed_server.operation.services import start as start_station

    opened = open_home(home)
    _say(f"{opened.config.name} listens on {opened.config.listen}:{opened.config.port}. Logs: {opened.log}.")
    if monitor:
        _say(f"Monitor: http://{opened.config.monitor_listen}:{opened.config.monitor_port}")
    start_station(opened, stop_on_signals(), _say, monitor)
    _say("stopped; open runs go on at the next start.")


@server.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study file.")],
    home: Home = DEFAULT,
    detach: Annotated[bool, typer.Option("--detach", help="Return without following the run.")] = False,
    canary: Annotated[bool, typer.Option(help="First try one batch at every site.")] = True,
    without: Annotated[
        list[str] | None, typer.Option(help="A site that the run may go on without. Repeatable.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Overrides the study's federation.rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the study's seed.")] = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Only show the cohorts in figures; nothing is trained.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a study with the sites, and follow the run; Ctrl-C stops following, not the run."""
    from normfed_common.studies import load_study
    from normfed_server.runs import starting

    opened = open_home(home)
    changes: dict[str, Any] = {"federation": {"rounds": rounds}} if rounds is not None else {}
    if seed is not None:
        changes["seed"] = seed
    name = starting.begin(opened, load_study(study, **changes), canary, tuple(without or ()), statistics)
    if detach:
        typer.echo(name)
        return
    _follow(home, name, as_json)


@server.command()
def follow(
    name: RunName,
    home: Home = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Watch a run."""
    run_folder(open_home(home), name)
    _follow(home, name, as_json)


@server.command()
def status(home: Home = DEFAULT) -> None:
    """Show whether the server runs, which sites are connected, and which runs are open."""
    from normfed_common.processes.supervision import is_running, read_services
    from normfed_server.state import admission

    opened, console = open_home(home), Console(highlight=False)
    running = is_running(opened.log)
    word = "runs" if running else "does not run"
    console.print(f"[bold]{opened.config.name}[/] at {opened.config.address}: {word}", soft_wrap=True)
    for warning in opened.check():
        console.print(f"[yellow]![/] {plain(warning)}", soft_wrap=True)
    warn(console, opened)
    for service, state in (read_services(opened.log) if running else {}).items():
        again = f", started again {state['restarts']} times" if state["restarts"] else ""
        console.print(f"  {service}: {'runs' if state['pid'] else 'down'}{again}")
    table = Table("site", "", "since", "people at most", "key", box=None, pad_edge=False)
    seen = admission.seen(opened) if running else {}
    for site, member in admission.members(opened).items():
        node = seen.get(site)
        word = member.state if member.state != "accepted" else "connected" if node and node["online"] else "away"
        most = str(member.people) if member.people is not None else "–"
        table.add_row(site, word, _when(str(node["since"])) if node else "", most, member.fingerprint)
    console.print(table)
    _runs(home, console, only_open=True)
    if not running:
        raise typer.Exit(1)


@server.command()
def runs(home: Home = DEFAULT) -> None:
    """List all runs and their states."""
    _runs(home, Console(highlight=False), only_open=False)


@server.command()
def stop(name: RunName, home: Home = DEFAULT) -> None:
    """Stop a run; it can be resumed."""
    from normfed_server.runs import steering

    steering.stop(open_home(home), name)
    typer.echo(f"{name} stops. Go on with: normfed server resume {name}")


@server.command()
def resume(
    name: RunName,
    home: Home = DEFAULT,
    detach: Annotated[bool, typer.Option("--detach", help="Return without following the run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Resume a run that was stopped or failed, from its last round."""
    from normfed_server.runs import steering
    from normfed_server.state.ledger import DONE

    entry = steering.resume(open_home(home), name)
    if entry.state in DONE and not as_json:
        typer.echo(steering.nothing_left(entry), err=True)
        raise typer.Exit(_EXIT[str(entry.state)])
    if not detach:
        _follow(home, name, as_json)


@server.command()
def excuse(name: RunName, site: Site, home: Home = DEFAULT) -> None:
    """Let a run go on without a site, even the largest, as long as its quorum is met."""
    from normfed_server.runs import steering

    opened = open_home(home)
    steering.excuse(opened, run_folder(opened, name), site)
    typer.echo(f"{name} may go on without {site}.")


@server.command()
def export(
    name: RunName,
    home: Home = DEFAULT,
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("export"),
) -> None:
    """Copy a finished run's model, figures, report, participation and checksums, to pass on."""
    from normfed_server.results.exporting import export as export_run

    made = export_run(run_folder(open_home(home), name), out)
    for path in made:
        typer.echo(path)


def _runs(home: Path, console: Console, only_open: bool) -> None:
    from normfed_server.state.ledger import State

    entries = open_home(home).ledger.all()
    entries = [entry for entry in entries if not only_open or entry.state is State.OPEN]
    if not entries:
        console.print("No run is open." if only_open else "No runs yet. Begin one: normfed server run STUDY.yaml")
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        console.print(f"{entry.name:<{width}}  {_when(entry.created)}  [bold]{entry.state}[/]", soft_wrap=True)
        print_wrapped(console, entry.why, "    ")


def _follow(home: Path, name: str, as_json: bool) -> None:
    from normfed_server.runs.following import Lines, Live, follow
    from normfed_server.state.notes import COHORTS, COHORTS_PAGE

    opened = open_home(home)
    console = Console(stderr=True, highlight=False)
    if not as_json:
        console.print(f"[bold]{name}[/] in {opened.runs / name}", soft_wrap=True)
    try:
        with Lines() if as_json else Live(console) as shown:
            entry = follow(opened, name, shown)
    except KeyboardInterrupt:
        console.print(f"\nThe run goes on. Watch it again: normfed server follow {name}")
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps({"event": "ended", "state": str(entry.state), "why": entry.why}))
    else:
        folder = opened.runs / name
        counted = (folder / COHORTS).exists()
        report = folder / (COHORTS_PAGE if counted else "report.html")
        console.print(f"[bold]{entry.state}[/]. {plain(entry.why)}".rstrip(), soft_wrap=True)
        if counted:
            from normfed_server.report.cohort_words import show_cohorts  # numpy and more: not to follow a run
            from normfed_server.results import cohorts

            show_cohorts(console, cohorts.read(folder))
        if report.exists():
            console.print(f"Report: [bold]{report}[/]", soft_wrap=True)
    raise typer.Exit(_EXIT[str(entry.state)])


_EXIT = {"finished": 0, "finished, partial": 3, "failed": 2, "stopped": 4}


def _when(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%d %b %H:%M")
    except ValueError:
        return "–"


def _say(text: str) -> None:
    Console(highlight=False).print(f"[dim]{datetime.now():%H:%M:%S}[/] {plain(text)}", soft_wrap=True)
