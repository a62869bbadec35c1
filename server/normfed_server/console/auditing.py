"""`normfed server audit`: what was done on this server and by whom, and whether the record of it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normfed_common.foundation.errors import UserError
from normfed_server.state.folder import DEFAULT, open_home


def audit(
    home: Annotated[Path, typer.Option("--home", help="The server's folder.", envvar="NORMFED_SERVER_HOME")] = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="The records as they stand, one per line.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Say whether it is whole; exit code 1 if not.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write it to one file, for a third party.")] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Close the file, and go on in a new one.")] = False,
    begin_anew: Annotated[
        bool, typer.Option("--begin-anew", help="Set a damaged file apart, and begin another chain.")
    ] = False,
) -> None:
    """Show who enrolled, accepted, started and stopped what, and which answers came in, newest last."""
    from normfed_common.chain import showing
    from normfed_server.state.chain import chain_of

    chain = chain_of(open_home(home))
    if sum((as_json, verify, export is not None, archive, begin_anew)) > 1:
        raise UserError("normfed server audit: give one of --json, --verify, --export, --archive, --begin-anew.")
    if archive:
        typer.echo(f"Closed: {chain.archive()}. Nothing is lost when it is moved to where archives are kept.")
    elif begin_anew:
        typer.echo(f"Begun anew. The damaged one is kept: {chain.begin_anew()}")
    else:
        showing.run(chain, as_json, verify, export, "audit.pub")
