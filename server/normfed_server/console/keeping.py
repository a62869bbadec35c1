"""Backups of a server: made while it runs, restored on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from normfed_common.wording.commands import as_typed
from normfed_server.console import passphrases
from normfed_server.console.options import As, Home, Key, PassphraseFile, signer
from normfed_server.state.folder import DEFAULT, open_home


def backup(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, on another disk or machine.")],
    home: Home = DEFAULT,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Keys and secrets too; then everything is encrypted by a passphrase.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    operator: As = None,
    key: Key = None,
) -> None:
    """Copy the server's folder into one file, while it runs."""
    from normfed_server.operation import backup as backups
    from normfed_server.state.acting import acting

    opened = open_home(home)
    who, passphrase = signer(opened, operator, key), None
    if with_keys:
        passphrase = passphrases.ask("New passphrase of the backup", passphrases.BACKUP, passphrase_file, new=True)
    with acting(opened, who, "enrol", "backup", {"keys": with_keys}):
        made = backups.write(opened, path, passphrase)
    size = path.stat().st_size / 1e6
    typer.echo(
        f"{path}: {len(made.files)} files, {size:.1f} MB. Digest, to compare when it is restored:\n  {made.digest}"
    )
    if not with_keys and opened.ca_key.exists():
        typer.echo(
            as_typed(
                f"It holds no keys. Without {opened.ca_key} every site would have to join again: keep that apart "
                "(normfed server ca move DIR), or make a backup --with-keys."
            ),
            err=True,
        )


def restore(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What `normfed server backup` wrote.")],
    home: Home = DEFAULT,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a server's folder of a backup, once all of it was checked; the old server must not run any more."""
    from normfed_server.operation import restoring

    restored = restoring.restore(
        path, home, lambda: passphrases.ask("Passphrase of the backup", passphrases.BACKUP, passphrase_file)
    )
    manifest, console = restored.manifest, Console(highlight=False)
    console.print(
        f"[bold]{manifest.federation}[/] as it was at {manifest.time}, in {home}. Digest:\n  {manifest.digest}\n"
        "What was done since is not in it: a site that was revoked since is let in again, until you revoke it; a site "
        "that was accepted since must be accepted again. Open runs go on from their last round in it; sites give the "
        "same answers, and spend nothing twice.",
        soft_wrap=True,
    )
    if restored.request is not None:
        console.print(
            as_typed(
                f"It held no keys: the server has a new one, {restored.request.fingerprint}. Have "
                f"{restored.home.request} signed where the authority's key is (normfed server ca sign); then normfed "
                "server renew --certificate server.crt. Or copy ca.key into the folder, and: normfed server renew"
            ),
            soft_wrap=True,
        )
    console.print(
        as_typed(
            f"Never let two servers run at the same time. Then: normfed server start --home {home}; if its address is "
            "another one now, first normfed server move HOST:PORT"
        ),
        soft_wrap=True,
    )
