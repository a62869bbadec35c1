"""Options that several commands have, and who gives the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from normfed_server.state.acting import Signer
    from normfed_server.state.folder import ServerHome

Home = Annotated[Path, typer.Option("--home", help="The server's folder.", envvar="NORMFED_SERVER_HOME")]
Site = Annotated[str, typer.Argument(help="A site's name.")]
RunName = Annotated[str, typer.Argument(help="A run's name; see `normfed server runs`.")]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object per line, for scripts, by events.schema.json in normfed_server/events.",
    ),
]
As = Annotated[
    str | None,
    typer.Option("--as", help="Which operator gives this command, if there are operators.", envvar="NORMFED_OPERATOR"),
]
Key = Annotated[Path | None, typer.Option("--key", help="The operator's private key.", envvar="NORMFED_OPERATOR_KEY")]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File whose first line is the passphrase, instead of asking.")
]


def signer(home: ServerHome, name: str | None, key: Path | None) -> Signer | None:
    """Who gives a command; None where there are no operators."""
    from normfed_server.console import passphrases
    from normfed_server.state import acting

    return acting.signer(home, name, key, lambda path: passphrases.ask(f"Passphrase of {path}", passphrases.OPERATOR))
