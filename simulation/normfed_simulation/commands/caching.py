"""`normfed cache`: what is kept between runs, how large it is, and taking away what nobody needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from normfed_client.imaging.cache_kinds import KINDS
from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, say
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_client.imaging.cache_contents import Kept

GIGABYTE = 1e9

cache = typer.Typer(help="What is kept between runs: list it, and take away what nobody needs.")


@cache.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--every", help="List every entry, not only each kind.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what is kept between runs: prepared scans, templates, datasets; how large, and when last used."""
    if context.invoked_subcommand is not None:
        return
    from normfed_client.imaging.cache import default_root
    from normfed_client.imaging.cache_contents import contents

    root, kept = default_root(), contents(default_root())
    if as_json:
        say("cache", [_item(one, root) for one in kept], folder=str(root), bytes=_bytes(kept))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{plain(str(root))}[/]: {_size(_bytes(kept))}", soft_wrap=True)
    for kind, meaning in KINDS.items():
        of = [one for one in kept if one.kind == kind]
        if of:
            console.print(
                f"  [bold]{kind:<12}[/]{_size(_bytes(of)):>9}  {len(of)} entries, last used "
                f"{_day(of[0])} to {_day(of[-1])}: {meaning}",
                soft_wrap=True,
            )
        for one in of if every else ():
            console.print(f"    {_size(one.size_bytes):>9}  {_day(one)}  {plain(_name(one, root))}", soft_wrap=True)
    console.print(as_typed("Make room: normfed cache prune --older-than 30. Elsewhere: set NORMFED_CACHE to a folder."))


@cache.command()
def prune(
    older_than: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="What was not used for so many days.")
    ] = None,
    larger_than: Annotated[
        float | None, typer.Option(min=0, metavar="GB", help="As much as is needed to be no larger; oldest first.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help=f"{', '.join(KINDS)}. Repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take away what was not used for long, or a kind of things; all of it is made again when a study needs it.

    Nothing is taken away while a run or another command uses the cache.
    """
    from normfed_client.imaging.cache import default_root
    from normfed_client.imaging.cache_contents import contents, to_prune
    from normfed_client.imaging.cache_contents import prune as take_away
    from normfed_common.wording.spelling import meant, sentences

    for name in kind or ():
        if name not in KINDS:
            known = f"Known: {', '.join(KINDS)}."
            raise UserError(sentences(f"--kind {name}: there is none.", meant(name, KINDS), known))
    if older_than is None and larger_than is None and not kind:
        raise UserError("normfed cache prune: say what goes, by --older-than DAYS, --larger-than GB or --kind KIND.")
    root = default_root()
    most = None if larger_than is None else larger_than * GIGABYTE
    chosen = to_prune(contents(root), kind or (), older_than, most)
    if not chosen:
        typer.echo("Nothing to take away.")
        return
    what = f"{len(chosen)} entries of {root}, {_size(_bytes(chosen))}"
    if not yes:
        typer.confirm(f"Take away {what}?", abort=True)
    typer.echo(f"Taken away: {what}; {_size(take_away(root, chosen))} are free again.")


def _item(kept: Kept, root: Path) -> dict[str, object]:
    last = datetime.fromtimestamp(kept.used, UTC).isoformat(timespec="seconds")
    return {"name": _name(kept, root), "kind": kept.kind, "bytes": kept.size_bytes, "last_used": last}


def _name(kept: Kept, root: Path) -> str:
    return kept.path.relative_to(root).as_posix()


def _bytes(kept: Sequence[Kept]) -> int:
    return sum(one.size_bytes for one in kept)


def _size(count: int) -> str:
    return f"{count / GIGABYTE:.2f} GB" if count >= GIGABYTE / 10 else f"{count / 1e6:.1f} MB"


def _day(kept: Kept) -> str:
    return datetime.fromtimestamp(kept.used).strftime("%Y-%m-%d")
