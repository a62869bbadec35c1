"""`normfed site quality`: a look at the cohort, and decisions on whom it lists."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from normfed_client.hospital.folder import DEFAULT, open_hospital
from normfed_common.deployment.terminal import print_wrapped
from normfed_common.foundation.errors import UserError
from normfed_common.study.options import SetOption
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from normfed_client.imaging.bids import Dataset, Visit
    from normfed_client.quality.doubts import Doubt
    from normfed_common.study.config import StudyConfig

TO_DECIDE = 3  # exit code
Home = Annotated[Path, typer.Option("--home", help="The site's folder.", envvar="NORMFED_SITE_HOME")]


def quality(
    study: Annotated[
        Path | None, typer.Argument(help="Modalities, preprocessing and healthy groups of this study. Default: all.")
    ] = None,
    changed: SetOption = None,
    modality: Annotated[list[str] | None, typer.Option(help="T1w, FLAIR, ...; repeatable.")] = None,
    healthy: Annotated[
        list[str] | None, typer.Option(help="Value of the column `group` that means healthy; repeatable.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Also write a page with pictures of those listed there.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="This person takes part, such as sub-014; repeatable.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="This person takes part in nothing: written to site.yaml; repeatable.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who decides: a name.")] = "",
    why: Annotated[str, typer.Option(help="Why, in a sentence.")] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")] = None,
    home: Home = DEFAULT,
) -> None:
    """Look at the cohort before a study learns from it, or decide on people whom the look listed.

    Nothing of it leaves the hospital. Exit code 3 where somebody has to decide.
    """
    from normfed_client.operation import looking

    hospital, console = open_hospital(home), Console(highlight=False)
    if keep or exclude:
        both = sorted(set(keep or ()) & set(exclude or ()))
        if both:
            raise UserError(f"{', '.join(both)}: named by --keep and by --exclude.")
        looking.decide(hospital, "keep", keep or (), by, why)
        looking.decide(hospital, "exclude", exclude or (), by, why)
        _end(console, looking.left(hospital))
        return
    from normfed_client.quality.kept import people_of
    from normfed_client.quality.page import write_page
    from normfed_common.studies import study_if_any

    visits = [visit for visits in people_of(hospital).values() for visit in visits]
    recipe, groups = looking.recipe_of(study_if_any(study, changed), visits, modality or (), healthy or ())
    with console.status(f"Looking at {len(visits)} visits, {', '.join(recipe.modalities)}") as shown:
        done = 0

        def told(visit: Visit, _failure: str | None) -> None:
            nonlocal done
            done += 1
            shown.update(f"Prepared {done} of {len(visits)} visits")

        found = looking.look(hospital, recipe, groups, workers or len(os.sched_getaffinity(0)), told)
    show(console, found.doubts)
    if page is not None:
        write_page(page, found, hospital.config.site, "")
        console.print(f"Page, to stay in the hospital: {plain(str(page))}", soft_wrap=True)
    _end(console, looking.left(hospital))


def look_at_sites(dataset: Dataset, study: StudyConfig | None, cache: Path) -> None:
    """Show what a look finds at each site of a dataset, whose people are compared with each other."""
    from normfed_client.operation.looking import recipe_of
    from normfed_client.quality.look import look_at

    console = Console(highlight=False)
    for site, visits in dataset.sites().items():
        recipe, healthy = recipe_of(study, visits, (), ())
        with console.status(f"Looking at {plain(site)}"):
            found = look_at(visits, recipe, cache, healthy, len(os.sched_getaffinity(0)))
        console.print(f"[bold]{plain(site)}[/], {', '.join(recipe.modalities)}")
        show(console, found.doubts)


def show(console: Console, doubts: Sequence[Doubt]) -> None:
    """A line per doubt, serious ones first."""
    for doubt in doubts:
        mark = "[red]✗[/]" if doubt.serious else "[yellow]![/]"
        print_wrapped(console, f"{doubt.visit or 'cohort'}: {doubt.text}", "    ", f"{mark} {doubt.kind:<13}")


def _end(console: Console, left: Sequence[Doubt]) -> None:
    people = sorted({doubt.subject for doubt in left})
    if not people:
        console.print("Nobody waits for a decision: studies of these modalities may learn from the cohort.")
        return
    named = ", ".join(people[:10]) + (f" and {len(people) - 10} more" if len(people) > 10 else "")
    console.print(
        as_typed(
            f"[red]{len(people)} people wait for a decision[/]: {plain(named)}. Look at their scans (--page), then: "
            "normfed site quality --keep SUBJECT --by NAME --why TEXT, or --exclude SUBJECT."
        ),
        soft_wrap=True,
    )
    raise typer.Exit(TO_DECIDE)
