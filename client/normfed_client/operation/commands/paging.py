"""`normfed site page`: the hospital's own page, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normfed_client.hospital.folder import DEFAULT, open_hospital


def page(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 0,
    listen: Annotated[str, typer.Option(help="127.0.0.1 or ::1; no other machine ever reaches it.")] = "127.0.0.1",
    home: Annotated[Path, typer.Option("--home", help="The site's folder.", envvar="NORMFED_SITE_HOME")] = DEFAULT,
) -> None:
    """Show this hospital's own page in a browser: what was asked, approved and sent; approve and refuse there.

    The address that it prints lets one browser in, once.
    """
    from normfed_client.operation.status import status
    from normfed_client.page.web import serve

    hospital = open_hospital(home)
    serve(hospital.folder, status, listen, port, _tell)
    typer.echo("stopped.")


def _tell(address: str) -> None:
    typer.echo(f"Open this in a browser on this machine; it works once, until Ctrl-C:\n\n  {address}\n")
