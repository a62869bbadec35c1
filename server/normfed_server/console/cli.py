"""`normfed server ...`: an operator's central server."""

from __future__ import annotations

from collections.abc import Callable

import typer

from normfed_server.console import auditing, authority, fleet, keeping, life, operators, runs, sites

server = typer.Typer(help="The central server: enrol sites, start it, run studies.", no_args_is_help=True)

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "The server": (life.init, life.start, life.status, auditing.audit),
    "Its certificate, its backups": (authority.renew, authority.move, keeping.backup, keeping.restore),
    "Sites": (sites.enrol, sites.accept, sites.people, sites.revoke, fleet.fleet),
    "Runs": (
        runs.run,
        runs.follow,
        runs.runs,
        runs.stop,
        runs.resume,
        runs.excuse,
        runs.retrain,
        runs.mark,
        runs.export,
    ),
    "Operators": (operators.pending, operators.approve, operators.actions, operators.token),
}
for _panel, _commands in PANELS.items():
    for _command in _commands:
        server.command(rich_help_panel=_panel)(_command)
server.add_typer(authority.ca, name="ca", rich_help_panel="Its certificate, its backups")
server.add_typer(operators.operator, name="operator", rich_help_panel="Operators")
