"""`normfed audit ...`: verify exported chains of records; needs the public keys, and no folder of anybody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from normfed_common.chain.keys import VerifyingKey
from normfed_common.foundation.errors import UserError

audit = typer.Typer(help="Verify what a site or a server exported of its audit.", no_args_is_help=True)

ShowJson = Annotated[bool, typer.Option("--json", help="What was found, for programs.")]


@audit.command()
def verify(
    file: Annotated[Path, typer.Argument(help="What `normfed site audit --export` wrote, or the server's.")],
    key: Annotated[Path, typer.Option(help="The public key: SITE.pub, or the server's audit.pub.")],
    as_json: ShowJson = False,
) -> None:
    """Say whether an export is what was written; exit code 1 if not."""
    from normfed_common.chain.showing import tell
    from normfed_common.chain.verifying import verify as verify_lines

    found = verify_lines(_lines(file), _key(key))
    if as_json:
        _print_json(found.problems, found.remarks, len(found.records))
        raise typer.Exit(0 if found.good else 1)
    tell(Console(highlight=False), found, key.read_text(encoding="ascii"))


@audit.command()
def compare(
    site: Annotated[Path, typer.Argument(help="The site's export.")],
    server: Annotated[Path, typer.Argument(help="The server's export.")],
    site_key: Annotated[Path, typer.Option(help="The site's public key, SITE.pub.")],
    server_key: Annotated[Path, typer.Option(help="The server's public key, audit.pub.")],
    as_json: ShowJson = False,
) -> None:
    """Hold the two against each other: each side's heads, and every answer; exit code 1 if they differ."""
    from normfed_common.chain.comparing import compare as compare_lines
    from normfed_common.chain.showing import BOTH, tell

    found = compare_lines(_lines(site), _key(site_key), _lines(server), _key(server_key))
    if not as_json and found.site:
        typer.echo(f"The site is {found.site}, by the server's record of whose key it accepted.")
    if as_json:
        _print_json(found.problems, found.remarks, len(found.records), site=found.site)
        raise typer.Exit(0 if found.good else 1)
    tell(Console(highlight=False), found, site_key.read_text(encoding="ascii"), BOTH)


def _lines(path: Path) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return list(file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def _key(path: Path) -> VerifyingKey:
    try:
        return VerifyingKey(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a public key. Give the file SITE.pub or audit.pub.") from error


def _print_json(problems: list[str], remarks: list[str], records: int, **more: str) -> None:
    found = {"good": not problems, "problems": problems, "remarks": remarks, "records": records, **more}
    typer.echo(json.dumps(found, indent=1))
