"""`normfed server fleet`: which site runs what, when it was last heard, and whether it fits."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from normfed_common.deployment.terminal import print_wrapped
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain
from normfed_server.state.folder import DEFAULT, ServerHome, open_home

COLUMNS = ("site", "", "since", "normfed", "flwr", "torch", "Python", "GPU", "people at most", "fits", "last heard")
WIDE = 100  # columns of a terminal; on a narrower one a row is several lines


def fleet(
    home: Annotated[Path, typer.Option("--home", help="The server's folder.", envvar="NORMFED_SERVER_HOME")] = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per site, for scripts.")] = False,
) -> None:
    """Show every site's versions, when it was last heard, and whether it fits or why not."""
    from normfed_common.foundation.versions import PROTOCOL, installed_version
    from normfed_common.processes.supervision import is_running
    from normfed_server.state.fleet_rows import fleet as rows_of

    opened = open_home(home)
    running = is_running(opened.log)
    rows = rows_of(opened, running)
    if as_json:
        for row in rows:
            typer.echo(json.dumps({**asdict(row), "fits": row.fits}))
        return
    console = Console(highlight=False)
    word = "" if running else "; it does not run"
    said = f"normfed {installed_version()}, protocol {PROTOCOL}{word}"
    console.print(f"[bold]{opened.config.name}[/]: {said}", soft_wrap=True)
    if not rows:
        console.print(as_typed("No site is enrolled yet: normfed server enrol SITE"))
        return
    cells = [
        (
            row.site,
            row.state,
            when(row.since),
            *(plain(str(row.machine.get(name, "–") or "–")) for name in ("normfed", "flwr", "torch", "python", "gpu")),
            str(row.people) if row.people is not None else "–",
            row.fits,
            when(row.heard),
        )
        for row in rows
    ]
    if console.width >= WIDE:
        table = Table(*COLUMNS, box=None, pad_edge=False)
        for line in cells:
            table.add_row(*line)
        console.print(table)
    else:
        for site, state, *others in cells:
            shown = [f"{name} {value}" for name, value in zip(COLUMNS[2:], others, strict=True) if value != "–"]
            print_wrapped(console, f"{state}; {', '.join(shown)}", "    ", f"[bold]{plain(site)}[/]  ")
    for row in rows:
        for why in row.unfit:
            print_wrapped(console, f"{row.site} {why}", "  ", "[red]✗[/] ")
    warn(console, opened)


def warn(console: Console, home: ServerHome) -> None:
    """Say which sites the next release of the server would shut out."""
    from normfed_server.state.fleet_rows import fleet as rows_of
    from normfed_server.state.fleet_rows import shut_out_next

    for row in shut_out_next(rows_of(home)):
        text = (
            f"{row.site} has normfed {row.version} (said {when(row.heard)}) and works with servers up to "
            f"{row.server_up_to}: have it updated before this server goes further."
        )
        print_wrapped(console, text, "  ", "[yellow]![/] ")


def when(stamp: str) -> str:
    """A time as an operator reads it; with the year where it was not this one."""
    try:
        moment = datetime.fromisoformat(stamp).astimezone()
    except ValueError:
        return "–"
    return moment.strftime("%d %b %H:%M" if moment.year == datetime.now(UTC).year else "%d %b %Y")
