"""`normfed site show`: what a study would do at this hospital, what would leave, and how it stands."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from normfed_client.hospital.folder import DEFAULT, open_hospital
from normfed_common.foundation.errors import UserError
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normfed_client.consent.manifest import Manifest
    from normfed_client.consent.sheet import Line
    from normfed_common.study.config import StudyConfig

WIDE = 120  # columns of a terminal that the table needs

Home = Annotated[Path, typer.Option("--home", help="The site's folder.", envvar="NORMFED_SITE_HOME")]
Which = Annotated[str, typer.Argument(help="A study's file, or its digest as `normfed site asked` lists it.")]


def show(
    which: Which,
    page: Annotated[
        Path | None,
        typer.Option(help="Write the sheet for the data-protection officer: HTML, one page of A4 in print."),
    ] = None,
    dpia: Annotated[
        Path | None,
        typer.Option(help="Write a data protection impact assessment to complete: Markdown; no file is overwritten."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every array by itself.")] = False,
    home: Home = DEFAULT,
) -> None:
    """Show what would leave this hospital for a study, and how the study stands here."""
    from normfed_client.consent.deciding import find, obstacle
    from normfed_client.consent.dpia import assessment
    from normfed_client.consent.making import manifest_of
    from normfed_client.consent.sheet import page as sheet
    from normfed_client.consent.sheet import people_of
    from normfed_client.consent.standing import standing_of
    from normfed_common.foundation.files import write_text

    hospital, console = open_hospital(home), Console(highlight=False)
    study = find(hospital, which)
    manifest, stands = manifest_of(hospital, study), standing_of(hospital, study, date.today()).words
    if dpia is not None:
        if dpia.exists():
            raise UserError(f"{dpia}: is there already, perhaps completed by hand. Name another file.")
        write_text(dpia, assessment(manifest, study, hospital.config, people_of(hospital), stands))
        console.print(f"Written: {plain(str(dpia))}. Complete what says TO BE FILLED IN.", soft_wrap=True)
    if page is not None:
        write_text(page, sheet(manifest, study, people_of(hospital)))
        console.print(f"Written: {plain(str(page))}. Print it, or open it in a browser.", soft_wrap=True)
    if page is None and dpia is None:
        _print(console, manifest, study, every)
    console.print(f"\n{plain(study.name)} {plain(stands)}.", soft_wrap=True)
    if why := obstacle(hospital, study):
        console.print(f"[yellow]![/] Even approved it would be refused: {plain(why)}", soft_wrap=True)


def _print(console: Console, manifest: Manifest, study: StudyConfig, every: bool) -> None:
    from normfed_client.consent.sheet import beside_of, facts_of, lines_of, size

    facts = Table(box=None, pad_edge=False, show_header=False)
    for what, text in facts_of(study):
        facts.add_row(what, plain(text))
    console.print(facts)
    others = size(sum(one.bytes * one.times_per_other_site for one in manifest.leaving))
    beside = f", and {others} for each other site that trains" if others != size(0) else ""
    most = f"at most {size(manifest.total_bytes)} in one run{beside}"
    text = f"\nWhat would leave {manifest.site} for {manifest.server}: {most}"
    console.print(plain(text), soft_wrap=True)
    lines = lines_of(manifest, "every array" if every else "arrays")
    if console.width < WIDE:
        _print_stacked(console, lines)
    else:
        table = Table(
            "when", "answer", "arrays", "type and shape", "bytes", "times", "about people", box=None, pad_edge=False
        )
        for line in lines:
            cells = (line.when, line.what, line.arrays, line.shape, line.bytes, line.times, line.about)
            table.add_row(*map(plain, cells))
        console.print(table)
    told = (f"Beside arrays: {'; '.join(beside_of(manifest))}.", *manifest.protection, f"List {manifest.digest}.")
    for sentence in told:
        console.print(plain(sentence), soft_wrap=True)


def _print_stacked(console: Console, lines: Sequence[Line]) -> None:
    """Each answer as a head, and its arrays below: seven columns are no table on a narrow terminal."""
    for line in lines:
        if line.when:
            console.print(f"\n[bold]{plain(line.when)}[/]: {plain(line.what)}; times: {plain(line.times)}")
        said = [one for one in (line.shape, line.bytes, f"people {line.about}") if not one.endswith("–")]
        console.print(Padding(plain("; ".join([line.arrays, *said])), (0, 0, 0, 2)))
    console.print()
