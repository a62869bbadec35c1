"""`normfed rehearse`: a whole federation on this machine, everything real, before hospitals are asked."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.study.options import SetOption
from normfed_common.wording.installing import with_extra


def rehearse(
    study: Annotated[
        Path | None, typer.Argument(help="A study file. Default: a tiny one, with synthetic people.")
    ] = None,
    changed: SetOption = None,
    private: Annotated[
        bool, typer.Option("--private", help="Without a study: that with epsilon and secure aggregation.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="A BIDS dataset; each of its sites becomes a hospital.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder to work in. Default: a temporary one.")] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="Rehearse faults: kill processes, cut and stall links, fill disks.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="With --faults: only those whose names begin with this. Repeatable.")
    ] = None,
    times: Annotated[int, typer.Option(min=1, help="With --faults: how often each process is killed.")] = 20,
    seed: Annotated[int, typer.Option(help="With --faults: seed of the random moments.")] = 0,
) -> None:
    """Run a real federation on this machine (SuperLink, nodes, TLS, keys); compare its weights with a simulation's."""
    from normfed_common.study.changes import parsed
    from normfed_deploy import playing

    if private and study is not None:
        raise StudyError(f"--private: chooses between studies of its own; set privacy in {study} instead.")
    if only and not faults:
        raise StudyError("--only: chooses among faults; add --faults.")
    console = Console(highlight=False)
    say = partial(console.print, soft_wrap=True)
    chosen, root = playing.prepared(study, data, private, parsed(changed or ()))
    place = folder or Path(tempfile.mkdtemp(prefix="normfed-rehearsal-"))
    if place.exists() and any(place.iterdir()):
        raise StudyError(f"{place}: not empty. Choose another --folder.")
    console.print(f"Rehearsal in {place}")
    if not faults:
        same = playing.compare(chosen, root, place, say)
        raise typer.Exit(0 if same else 1)
    well = playing.matrix(chosen, root, place, times, tuple(only or ()), seed, say)
    raise typer.Exit(0 if well else 1)


deploy = typer.Typer(help="Kits for the machines of hospitals.", no_args_is_help=True)


@deploy.callback()
def _deploy() -> None:
    """Kits for the machines of hospitals."""


@deploy.command()
def wheelhouse(
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    python: Annotated[str, typer.Option(help="Version of Python there: 3.11, 3.12 or 3.13.")] = "3.12",
    cuda: Annotated[bool, typer.Option("--cuda", help="With CUDA, which is some gigabytes more.")] = False,
    torch_index: Annotated[
        str, typer.Option(help="Index with torch for CPUs; without --cuda.")
    ] = "https://download.pytorch.org/whl/cpu",
    key: Annotated[Path | None, typer.Option(help="EC private key (PEM) that signs SHA256SUMS.")] = None,
) -> None:
    """Gather all that an installation without a network needs: wheels by hash, bill of materials, licences, units."""
    try:
        from normfed_deploy.kit import assembling, lock
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed. Kits need more: {with_extra('kit')}") from error
    if python not in lock.PYTHONS:
        raise UserError(f"--python {python}: not one that normfed runs on. Choose of {', '.join(lock.PYTHONS)}.")
    assembling.assemble(out, python, cuda, torch_index, key, partial(typer.echo, err=True))
