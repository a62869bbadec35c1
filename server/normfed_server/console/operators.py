"""Operators: who may do what, what waits for a second person, what was done, and who may look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain
from normfed_server.console import passphrases
from normfed_server.console.options import As, Home, Key, PassphraseFile, signer
from normfed_server.console.sites import done
from normfed_server.state.folder import DEFAULT, ServerHome, open_home

if TYPE_CHECKING:
    from normfed_server.state.acting import Signer

operator = typer.Typer(help="Named operators with keys and roles: enrol, run, read.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="An operator's name.")]


@operator.command("key")
def make_key(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder for NAME.key and NAME.pub; not the server's.")] = Path(),
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make your own key, on your own machine; NAME.pub is what the federation needs."""
    from normfed_server.state import operators

    private, public = _new_key(name, out, passphrase_file)
    Console(highlight=False).print(
        f"Your key is {private}, encrypted: keep it, and give it to nobody.\nSend {public} to an operator with the "
        f"role enrol; compare by telephone:\n  [bold]{operators.fingerprint(public.read_text())}[/]",
        soft_wrap=True,
    )


@operator.command()
def add(
    name: Name,
    public: Annotated[Path, typer.Option("--public", help="The new operator's public key, NAME.pub.")],
    roles: Annotated[str, typer.Option(help="What the operator may do, such as run,read.")] = "run,read",
    home: Home = DEFAULT,
    by: As = None,
    key: Key = None,
) -> None:
    """Name an operator; from the first one on, who needs the role enrol, commands are signed."""
    from normfed_server.state import operators

    said = {"name": name, "key": operators.read_public(public), "roles": roles.replace(" ", "")}
    if done(open_home(home), by, key, "operator add", said):
        typer.echo(f"{name} is an operator ({said['roles']}), with the key {operators.fingerprint(said['key'])}.")


@operator.command("list")
def show(home: Home = DEFAULT) -> None:
    """List operators, with their roles and keys."""
    from normfed_server.state import operators

    table = Table("operator", "roles", "since", "until", "key", box=None, pad_edge=False)
    for one in operators.everybody(open_home(home)):
        table.add_row(one.name, ", ".join(one.roles), one.added[:10], (one.removed or "")[:10], one.fingerprint)
    Console(highlight=False).print(table)


@operator.command()
def remove(name: Name, home: Home = DEFAULT, by: As = None, key: Key = None) -> None:
    """Let an operator do nothing more; what the key signed can still be verified."""
    if done(open_home(home), by, key, "operator remove", {"name": name}):
        typer.echo(f"{name} is no operator any more, and has no token.")


def first_operator(home: ServerHome, name: str, public: Path | None) -> str:
    """Name the operator of a new federation, with a new key where there is none; returns what to say."""
    from normfed_server.state import acting, operators

    text = ""
    if public is None:
        private, public = _new_key(name, home.folder.resolve().parent, None)
        text = f"The key of {name} is {private}, encrypted: move it to a machine or stick of {name}'s own.\n"
    said = {"name": name, "key": operators.read_public(public), "roles": ",".join(operators.ROLES)}
    acting.do(home, None, "operator add", said)
    return f"{text}Commands are given with --as {name} --key FILE from now on."


def _new_key(name: str, out: Path, file: Path | None) -> tuple[Path, Path]:
    from normfed_server.state import operators

    passphrase = passphrases.ask(f"New passphrase for the key of {name}", passphrases.OPERATOR, file, new=True)
    return operators.make_key(out, name, passphrase)


def pending(home: Home = DEFAULT) -> None:
    """List what one operator proposed and another must approve."""
    from normfed_server.state import acting

    found = acting.pending(open_home(home))
    if not found:
        typer.echo("Nothing waits for a second operator.")
    for which, proposal in found.items():
        _show(which, proposal.by, proposal.action.command, proposal.action.arguments)
        typer.echo(as_typed(f"  until {proposal.until}; normfed server approve {which}"))


def approve(
    which: Annotated[str, typer.Argument(metavar="ID", help="See `normfed server pending`.")],
    home: Home = DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    operator: As = None,
    key: Key = None,
) -> None:
    """Carry out what another operator proposed."""
    from normfed_server.state import acting

    opened = open_home(home)
    proposal = acting.proposed(opened, which)
    _show(which, proposal.by, proposal.action.command, proposal.action.arguments)
    if not yes:
        typer.confirm("Do you approve exactly this? A site's fingerprint is compared with the site.", abort=True)
    acting.approve(opened, signer(opened, operator, key), which, proposal)
    typer.echo("Done.")


def actions(
    home: Home = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List what was done, by whom, and verify every signature."""
    from normfed_server.state import actions as records
    from normfed_server.state.chain import chain_of

    opened, doubts = open_home(home), 0
    for entry, why in records.judged(opened):
        doubts += bool(why)
        if as_json:
            typer.echo(json.dumps(entry.model_dump(mode="json") | {"doubt": why}))
        else:
            outcome = "" if entry.outcome == "done" else f" ({entry.outcome})"
            who = entry.by or "unsigned"
            _show(entry.action.time, who, entry.action.command + outcome, entry.action.arguments)
            if why:
                typer.echo(f"  NOT BELIEVED: {why}")
    if doubts:
        raise UserError(
            f"{chain_of(opened).path}: {doubts} actions are not what they say. Verify it: normfed server audit --verify"
        )


def _show(first: str, who: str, command: str, arguments: object) -> None:
    said = json.dumps(arguments, default=list, ensure_ascii=False)
    Console(highlight=False).print(f"{first}  [bold]{plain(who)}[/]  {plain(command)}  {plain(said)}", soft_wrap=True)


def token(
    home: Home = DEFAULT,
    hours: Annotated[
        float, typer.Option(min=0.1, max=8760, help="How long it is good for; more than 24 needs the role enrol.")
    ] = 8.0,
    revoke: Annotated[
        str | None, typer.Option(help="Make the token with this id worth nothing; another's needs the role enrol.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the tokens that are good now, by id.")] = False,
    operator: As = None,
    key: Key = None,
) -> None:
    """Print an address of the monitor with a new token, once; only its digest is kept."""
    from normfed_server.state import tokens
    from normfed_server.state.acting import acting

    opened = open_home(home)
    if listed:
        for known in tokens.valid(opened):
            typer.echo(f"{known.id}  until {known.until}  {known.by}")
        return
    who = signer(opened, operator, key)
    if revoke is not None:
        with acting(opened, who, tokens.role_to_revoke(opened, revoke, _name(who)), "token revoke", {"token": revoke}):
            tokens.revoke(opened, revoke)
        typer.echo(f"{revoke} is worth nothing any more.")
        return
    with acting(opened, who, tokens.role_to_make(hours), "token", {"hours": f"{hours:g}"}):
        made = tokens.make(opened, _name(who), hours)
    where = f"http://{opened.config.monitor_listen}:{opened.config.monitor_port}"
    typer.echo(f"{where}/?token={made}")
    typer.echo(f"Prometheus asks {where}/metrics with the header: Authorization: Bearer {made}", err=True)
    if opened.config.monitor_token == "off":
        typer.echo(f"The monitor asks for none yet: monitor_token: required in {opened.folder}/server.yaml.", err=True)


def _name(who: Signer | None) -> str:
    return "" if who is None else who.operator.name
