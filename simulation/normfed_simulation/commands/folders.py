"""`normfed inspect` and `normfed preprocess`, of a folder that may be a public dataset as it came."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from normfed_client import cli, inspection
from normfed_common.foundation.errors import UserError
from normfed_common.study.options import SetOption
from normfed_common.wording.machine import JsonOption


def inspect(
    folder: cli.Folder,
    check: Annotated[bool, typer.Option(help="Open every scan and mask, as a study would.")] = False,
    every: Annotated[
        bool, typer.Option("--every", help="Name everybody with a problem that many have, not one of them.")
    ] = False,
    study: Annotated[
        Path | None,
        typer.Option(help="Show the sites as this study has them, and how many of each train, are held out, test."),
    ] = None,
    changed: SetOption = None,
    page: Annotated[Path | None, typer.Option(help="Also write a page of plots there: who has what.")] = None,
    quality: Annotated[
        bool, typer.Option("--quality", help="Prepare the scans and look for odd ones, as `normfed site quality` does.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is in a dataset, per site, and what is wrong with it."""
    if quality and as_json:
        raise UserError("--json: what --quality finds is for people; leave one of the two out.")
    from normfed_common.studies import study_if_any

    loaded = study_if_any(study, changed)  # before what reads scans is loaded, which takes seconds

    from normfed_client.imaging.bids import read_dataset
    from normfed_client.imaging.cache import default_root
    from normfed_simulation.datasets.recognition import as_bids
    from normfed_simulation.splits import dividing
    from normfed_simulation.taking_part import foreseen

    before = root = as_bids(folder, loaded)
    if loaded is not None:
        root = dividing.view(before, loaded, default_root())
    dataset = read_dataset(root)
    of_study = None
    if study is not None and loaded is not None:
        of_study = inspection.OfStudy(study, foreseen(loaded, dataset), loaded.data.sites)
    code = inspection.inspect(dataset, check, every, folder, of_study, as_json)
    if quality:
        from normfed_client.operation.commands.quality import look_at_sites

        look_at_sites(dataset, loaded, default_root() / "scans")
    if page is not None:
        from normfed_simulation.who_has_what.page import write_page

        split = "" if loaded is None else dividing.described(loaded)
        write_page(page, dataset, dataset if before == root else read_dataset(before), split)
        if not as_json:
            typer.echo(f"Page: {page}")
    if code:
        raise typer.Exit(code)


@wraps(cli.preprocess)
def preprocess(folder: Path, **options: Any) -> None:
    """Register and normalise every scan of a dataset into the cache, so that studies start without delay."""
    from normfed_common.studies import study_if_any

    study = study_if_any(options.get("study"), options.get("changed"))

    from normfed_simulation.datasets.recognition import as_bids

    cli.preprocess(as_bids(folder, study), **options)
