"""The certificate authority and the server's certificate: renewed, moved, kept apart, signed elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_server.console import passphrases
from normfed_server.console.options import As, Home, Key, PassphraseFile, signer
from normfed_server.state.folder import DEFAULT, ServerConfig, ServerHome, open_home

ca = typer.Typer(
    help="A certificate authority kept apart from the server, with its key encrypted.", no_args_is_help=True
)

Apart = Annotated[Path, typer.Option("--ca", help="The authority's folder.")]
Certificate = Annotated[
    Path | None, typer.Option("--certificate", help="What the authority apart signed: put it in place.")
]


def renew(
    home: Home = DEFAULT,
    certificate: Certificate = None,
    operator: As = None,
    key: Key = None,
) -> None:
    """Renew the server's certificate; sites notice nothing. With the authority apart: ask for it, then install it."""
    from normfed_common.chain.kinds.server import Reach
    from normfed_server.state import authority, certificates
    from normfed_server.state.acting import acting
    from normfed_server.state.chain import record

    opened = open_home(home)
    with acting(opened, signer(opened, operator, key), "enrol", "renew", {"installs": certificate is not None}):
        if certificate is not None:
            authority.install(opened, certificate, (opened.config.host,))
        elif opened.ca_key.exists():
            opened.issue_certificate()
        else:
            _ask_for(opened, (opened.config.host,), "normfed server renew --certificate server.crt")
            return
        record(opened, Reach(kind="renewed", address=opened.config.address))
    days = certificates.days_left(opened.certificate)
    typer.echo(f"Renewed for {days:.0f} days. A running server takes it up by itself.")


def move(
    address: Annotated[str, typer.Argument(help="host:port at which sites reach this server from now on.")],
    home: Home = DEFAULT,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: that of the address.")] = None,
    certificate: Certificate = None,
    operator: As = None,
    key: Key = None,
) -> None:
    """Give the server another address; its sites keep their keys, and learn it with `normfed site move`."""
    from normfed_common.chain.kinds.server import Reach
    from normfed_server.state import admission, authority
    from normfed_server.state.acting import acting
    from normfed_server.state.chain import record
    from normfed_server.state.folder import check_address, host_of
    from normfed_server.state.folder import move as move_server

    opened = open_home(home)
    check_address(address)
    apart = certificate is None and not opened.ca_key.exists()
    with acting(opened, signer(opened, operator, key), "enrol", "move", {"address": address, "installs": not apart}):
        if apart:
            hosts = (host_of(address), opened.config.host)
            _ask_for(opened, hosts, f"normfed server move {address} --certificate server.crt")
            return
        certify = (lambda hosts: authority.install(opened, certificate, hosts)) if certificate is not None else None
        moved = move_server(opened, address, port, certify)
        record(moved, Reach(kind="moved", address=address))
    console = Console(highlight=False)
    console.print(
        as_typed(
            f"[bold]{moved.config.name}[/] is at {address} from the next start on. Its certificate is good for "
            f"{opened.config.host} too, until it is renewed.\nTell every site to run: normfed site move {address}"
        ),
        soft_wrap=True,
    )
    for site, member in admission.members(moved).items():
        if member.state == "invited":
            console.print(as_typed(f"{site} has not joined yet; send a new file: normfed server enrol {site} --again"))


def _ask_for(home: ServerHome, hosts: tuple[str, ...], then: str) -> None:
    from normfed_server.state import authority

    asked = authority.request(home, hosts)
    Console(highlight=False).print(
        as_typed(
            f"The authority's key is not here. Take this file to where it is:\n  {home.request}\n"
            f"Its key, to compare there:  [bold]{asked.fingerprint}[/]\n"
            f"There: normfed server ca sign server.csr --ca DIR --out server.crt\nThen here: {then}"
        ),
        soft_wrap=True,
    )


def authority_for(folder: Path, home: Path, config: ServerConfig, file: Path | None) -> Callable[[ServerHome], None]:
    """What gives a new server its certificate from an authority apart, which is made where there is none.

    Raises
    ------
    UserError
        If it cannot be used; before anything of the server is there.
    """
    from normfed_server.state import authority

    if folder.resolve().is_relative_to(home.resolve()):
        raise UserError(f"{folder}: is inside {home}. Choose a folder on another disk.")
    only_asked = (folder / authority.CERTIFICATE).exists() and not (folder / authority.KEY).exists()
    passphrase = b""
    if not only_asked:
        new = not (folder / authority.KEY).exists()
        passphrase = passphrases.ask("Passphrase of the authority's key", passphrases.AUTHORITY, file, new=new)
        if new:
            authority.make(config.name, folder, passphrase)
        authority.key_of(folder, passphrase)

    def certify(made: ServerHome) -> None:
        authority.adopt(made, folder)
        asked = authority.request(made, (config.host,))
        if not only_asked:
            authority.sign(asked, folder, passphrase, made.certificate)
            made.request.unlink()

    return certify


@ca.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Folder to make, on the machine that will sign.")],
    name: Annotated[str, typer.Option(help="Name of the federation.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make an authority on a machine that is not exposed; the server gets a folder with its ca.crt."""
    from normfed_server.state import authority

    passphrase = passphrases.ask("Passphrase of the authority's key", passphrases.AUTHORITY, passphrase_file, new=True)
    authority.make(name, folder, passphrase)
    Console(highlight=False).print(
        as_typed(
            f"{folder / authority.KEY} never leaves this machine; back it up with its passphrase. Its fingerprint:\n  "
            f"[bold]{authority.fingerprint(folder)}[/]\nOn the server, with {authority.CERTIFICATE} in a folder DIR of "
            "its own: normfed server init --ca DIR ..."
        ),
        soft_wrap=True,
    )


@ca.command()
def sign(
    request: Annotated[Path, typer.Argument(help="What the server asks for, server.csr.")],
    folder: Apart,
    out: Annotated[Path, typer.Option(help="The certificate to write.")] = Path("server.crt"),
    days: Annotated[int, typer.Option(min=1, max=397, help="How long it is valid.")] = 397,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: hosts and key have been compared.")] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a server's request, on the machine that has the authority's key."""
    from normfed_server.state import authority

    asked = authority.read_request(request)
    Console(highlight=False).print(
        f"A server at [bold]{', '.join(asked.hosts)}[/], with the key  [bold]{asked.fingerprint}[/]", soft_wrap=True
    )
    if not yes:
        typer.confirm("Is this your server's address, and the key that it showed?", abort=True)
    passphrase = passphrases.ask("Passphrase of the authority's key", passphrases.AUTHORITY, passphrase_file)
    authority.sign(asked, folder, passphrase, out, days)
    typer.echo(as_typed(f"{out} is for the server: normfed server renew --certificate {out.name}"))


@ca.command("move")
def take_apart(
    folder: Annotated[Path, typer.Argument(help="Folder to make, on another disk.")],
    home: Home = DEFAULT,
    passphrase_file: PassphraseFile = None,
    operator: As = None,
    key: Key = None,
) -> None:
    """Take the authority's key out of a server's folder, encrypted; nothing of it is left there."""
    from normfed_server.state import authority
    from normfed_server.state.acting import acting

    opened = open_home(home)
    who = signer(opened, operator, key)
    passphrase = passphrases.ask("New passphrase of its key", passphrases.AUTHORITY, passphrase_file, new=True)
    with acting(opened, who, "enrol", "ca move", {}):
        authority.take_apart(opened, folder, passphrase)
    typer.echo(f"The key is in {folder}, encrypted, and no longer in {opened.folder}. Earlier backups do still.")
    if folder.stat().st_dev == opened.folder.stat().st_dev:
        typer.echo(
            "Both folders are on one disk, whose old blocks may still hold it: move the new one elsewhere.", err=True
        )
