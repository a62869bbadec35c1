"""A server's life: made, started, looked at."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain
from normfed_server.console.fleet import warn
from normfed_server.console.options import Home, PassphraseFile
from normfed_server.console.runs import show_runs, when
from normfed_server.state.folder import DEFAULT, open_home


def init(
    name: Annotated[str, typer.Option(help="Name of the federation, shown to sites.")],
    address: Annotated[str, typer.Option(help="host:port at which sites reach this server.")],
    home: Home = DEFAULT,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: that of the address.")] = None,
    listen: Annotated[str, typer.Option(help="IP address to listen on; :: for IPv6.")] = "0.0.0.0",
    monitor_port: Annotated[
        int | None, typer.Option(help="Port of the monitor, on this machine only. Default: the first free from 8080.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="Keep the authority's key in this folder, encrypted, on another disk. With only its ca.crt there, a "
            "request is written for the machine that has the key."
        ),
    ] = None,
    operator: Annotated[str | None, typer.Option(help="Name of the first operator, who may do everything.")] = None,
    operator_key: Annotated[
        Path | None, typer.Option(help="The operator's public key. Default: a new key, beside the server's folder.")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make the server's folder: certificate authority, certificate, secrets."""
    from normfed_common.foundation.errors import StudyError
    from normfed_common.study.validation import validate
    from normfed_server.console.authority import authority_for
    from normfed_server.console.operators import first_operator
    from normfed_server.operation import ports
    from normfed_server.state.chain import make_key
    from normfed_server.state.folder import ServerConfig, create

    last = address.rpartition(":")[2]
    raw: dict[str, Any] = {"name": name, "address": address, "listen": listen}
    raw["port"] = port if port is not None else int(last) if last.isdigit() else 8000
    raw["monitor_port"] = monitor_port if monitor_port is not None else ports.free_monitor_port()
    try:
        config = validate(ServerConfig, raw, "normfed server init")
    except StudyError as error:
        raise UserError(f"{error} An address is host:port, such as federation.example.org:8000.") from error
    made = create(home, config, authority_for(ca, home, config, passphrase_file) if ca is not None else None)
    make_key(made)
    console = Console(highlight=False)
    console.print(f"[bold]{name}[/] at {address}. Everything is in {home}; back it up.", soft_wrap=True)
    if operator is not None:
        console.print(first_operator(made, operator, operator_key), soft_wrap=True)
    for what, host, number in (("port", config.listen, config.port), ("monitor", "127.0.0.1", config.monitor_port)):
        if why := ports.trouble(host, number):
            console.print(f"[yellow]![/] {what} {number}: {plain(why)}. Change it in server.yaml.", soft_wrap=True)
    console.print(
        f"Its fingerprint, to read to hospitals by telephone:\n  [bold]{made.fingerprint()}[/]", soft_wrap=True
    )
    if ca is not None and not made.certificate.exists():
        console.print(
            as_typed(
                f"First: have {made.request} signed where the authority's key is, normfed server ca sign server.csr; "
                "then normfed server renew --certificate server.crt"
            ),
            soft_wrap=True,
        )
    console.print(
        as_typed("Next: normfed server enrol SITE for every hospital, and normfed server start"), soft_wrap=True
    )


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


def status(home: Home = DEFAULT) -> None:
    """Show whether the server runs, which sites are connected, and which runs are open."""
    from normfed_common.processes.supervision import is_running, read_services
    from normfed_server.state import acting, admission, operators

    opened, console = open_home(home), Console(highlight=False)
    running = is_running(opened.log)
    word = "runs" if running else "does not run"
    console.print(f"[bold]{opened.config.name}[/] at {opened.config.address}: {word}", soft_wrap=True)
    for warning in opened.check():
        console.print(f"[yellow]![/] {plain(warning)}", soft_wrap=True)
    warn(console, opened)
    if not operators.active(opened):
        console.print(
            as_typed(
                "[yellow]![/] No operators are named: whoever owns this folder does everything, and nothing is signed. "
                "See normfed server operator --help"
            ),
            soft_wrap=True,
        )
    if waiting := acting.pending(opened):
        console.print(
            as_typed(f"[yellow]![/] {len(waiting)} wait for a second operator: normfed server pending"), soft_wrap=True
        )
    for service, state in (read_services(opened.log) if running else {}).items():
        again = f", started again {state['restarts']} times" if state["restarts"] else ""
        console.print(f"  {service}: {'runs' if state['pid'] else 'down'}{again}")
    table = Table("site", "", "since", "people at most", "key", box=None, pad_edge=False)
    seen = admission.seen(opened) if running else {}
    for site, member in admission.members(opened).items():
        node = seen.get(site)
        word = member.state if member.state != "accepted" else "connected" if node and node["online"] else "away"
        most = str(member.people) if member.people is not None else "–"
        table.add_row(site, word, when(str(node["since"])) if node else "", most, member.fingerprint)
    console.print(table)
    show_runs(home, console, only_open=True)
    if not running:
        raise typer.Exit(1)


def _say(text: str) -> None:
    Console(highlight=False).print(f"[dim]{datetime.now():%H:%M:%S}[/] {plain(text)}", soft_wrap=True)
