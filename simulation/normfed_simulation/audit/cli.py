"""`normfed audit-privacy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from normfed_common.wording.terminal_text import plain


def audit_privacy(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of simulations on this machine.")],
    data: Annotated[
        Path | None, typer.Option(help="The BIDS dataset, where it is no longer where the run had it.")
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this one: membership, lira, inversion, attributes, differencing or canaries. Repeatable."
        ),
    ] = None,
    shadows: Annotated[
        int, typer.Option(min=0, help="Shadow federations that the likelihood-ratio attack trains.")
    ] = 16,
    canaries: Annotated[int, typer.Option(min=10, max=100_000, help="Made-up people of the one-run audit.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of what the auditor draws.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:1 for the second GPU.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the files written.")] = False,
) -> None:
    """Attack finished runs: what could somebody who sees the model, or all that left a site, still learn of people?

    Several runs, such as one with privacy and one without, come into one table.
    """
    from normfed_client.hospital.device import choose_device
    from normfed_common.privacy.audit import FILE
    from normfed_server.runs.folder import reopen
    from normfed_simulation.audit.auditing import audit
    from normfed_simulation.audit.table import table
    from normfed_simulation.audit.target import Options

    options = Options(shadows, canaries, seed, str(choose_device(device)))
    console, found = Console(stderr=True), []
    with console.status("Attacking") as status:
        for folder in runs:

            def told(text: str, folder: Path = folder) -> None:
                if not quiet:
                    status.update(plain(f"{folder}: {text}"))

            found.append(audit(reopen(folder), data, options, attack or (), told))
    if quiet:
        for folder in runs:
            typer.echo(folder / FILE)
        return
    console.print(table(found))
    for folder in runs:
        console.print(f"Audit: [bold]{folder / FILE}[/]", soft_wrap=True, highlight=False)
