"""`normfed site audit`: what this hospital's client did, and whether the record of it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normfed_client.hospital.folder import DEFAULT, open_hospital
from normfed_common.foundation.errors import UserError


def audit(
    home: Annotated[Path, typer.Option("--home", help="The site's folder.", envvar="NORMFED_SITE_HOME")] = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="The records as they stand, one per line.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Say whether it is whole; exit code 1 if not.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write it to one file, for a third party.")] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Close the file, and go on in a new one.")] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on without records that are lost; the audit says so.")
    ] = False,
    begin_anew: Annotated[
        bool, typer.Option("--begin-anew", help="Set a damaged file apart, and begin another chain.")
    ] = False,
) -> None:
    """Show what was asked, answered, refused and decided here, newest last."""
    from normfed_client.recording.audit import Audit
    from normfed_common.chain import showing

    kept = Audit(open_hospital(home))
    if sum((as_json, verify, export is not None, archive, accept_loss, begin_anew)) > 1:
        raise UserError("normfed site audit: give one of --json, --verify, --export, --archive, and what mends it.")
    if archive:
        typer.echo(f"Closed: {kept.chain.archive()}. Nothing is lost when it is moved to where archives are kept.")
    elif accept_loss:
        typer.echo(f"The audit goes on without what is lost of {kept.accept_loss()} records, and says so.")
    elif begin_anew:
        typer.echo(f"Begun anew. The damaged one is kept: {kept.chain.begin_anew()}")
    else:
        showing.run(kept.chain, as_json, verify, export, f"{kept.hospital.config.site}.pub")
