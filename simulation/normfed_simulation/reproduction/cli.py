"""`normfed reproduce`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from normfed_common.foundation.errors import StudyError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain
from normfed_simulation.commands.options import DeviceOption, JsonLinesOption, OutOption, QuietOption, WorkersOption
from normfed_simulation.commands.output import Output, resumable

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_simulation.reproduction.folder import ReproductionFolder
    from normfed_simulation.reproduction.layout import Reproduction
    from normfed_simulation.reproduction.recipe import Recipe
    from normfed_simulation.reproduction.running import Means
    from normfed_simulation.watcher import Watcher


class FederatedName(StrEnum):
    """How a segmentation is federated."""

    fedavg = "fedavg"
    fedbn = "fedbn"


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="A recipe. Left out: list them, and the data that each takes.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ROLE=]DIR",
            help="A dataset as it came, or BIDS with sites, and which of the recipe's data it is: patients=DIR. "
            "Repeatable.",
        ),
    ] = None,
    look_alike: Annotated[
        bool,
        typer.Option(
            "--look-alike",
            help="Try the recipe in seconds on small made-up data of the same layout; reproduces nothing.",
        ),
    ] = False,
    federated: Annotated[
        FederatedName | None, typer.Option(help="Segmentation only: beside the scanners alone, a federation of them.")
    ] = None,
    out: OutOption = Path("runs"),
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of an interrupted reproduction to finish; leave out NAME.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Reproduce a published table, given its data, and print our figures beside the published ones."""
    if name is None and resume is None:
        _list()
        return
    from normfed_client.hospital.device import choose_device
    from normfed_simulation import experiment
    from normfed_simulation.reproduction import data as given_data
    from normfed_simulation.reproduction import folder, recipe, running

    choose_device(device)
    if resume is not None:
        if name is not None or data or look_alike or federated is not None:
            raise StudyError("--resume continues a reproduction; leave out NAME and options that change it.")
        path = resume
    else:
        assert name is not None
        chosen = recipe.load(name)
        if look_alike and data:
            raise StudyError("--look-alike makes the data up, and --data gives them. Leave out one of the two.")
        if federated is not None and chosen.segmentation is None:
            raise StudyError(
                f"--federated is of a segmentation, and {name} is none: its study says how it is federated."
            )
        folders = given_data.generated(chosen) if look_alike else given_data.given(chosen, name, data or [])
        if not folders:
            roles = " ".join(f"--data {role}=DIR" for role in chosen.roles)
            raise StudyError(
                f"{name} needs data: {roles}. `normfed reproduce` says which; --look-alike tries it on made-up ones."
            )
        made_up = given_data.is_look_alike(folders)
        begun = folder.Begun(
            name=name,
            recipe=chosen,
            data={role: tuple(map(str, of_role)) for role, of_role in folders.items()},
            look_alike=made_up,
            not_run=running.not_run(chosen, name, folders, made_up),
            federated=None if federated is None else folder.FEDERATED[federated.value],
        )
        path = folder.begin(begun, out)
    opened = folder.reopened(path)
    means = running.Means(device, experiment.worker_count(workers))
    with nullcontext() if resume is not None else folder.discarded_if_refused(path):
        _run(opened, means, Output(quiet, as_json))


def _run(opened: ReproductionFolder, means: Means, output: Output) -> None:
    from normfed_simulation.reproduction import folder, layout, running
    from normfed_simulation.reproduction.page import write_pages
    from normfed_simulation.reproduction.table import MADE_UP

    console = Console(stderr=True)

    def shown(arm: str) -> AbstractContextManager[Watcher]:
        if not output.silent:
            console.print(f"[bold]{plain(arm)}[/]", highlight=False)
        return output.watching(console)

    if opened.begun.look_alike:  # quiet or not: nobody may take these for figures of patients
        console.print(f"[bold red]{MADE_UP}[/]", highlight=False)
    if not output.silent:
        console.print(f"[bold]{opened.begun.name}[/], in {opened.path}", highlight=False)
    with resumable(console, lambda: f"normfed reproduce --resume {opened.path}", lambda: folder.begun(opened.path)):
        found = running.run(opened, means, shown)
    layout.write(opened.path, found)
    page = write_pages(opened.path, found)
    if not output.told_to_scripts(page, opened.path):
        _show(console, found, page)


def _show(console: Console, found: Reproduction, page: Path) -> None:
    from normfed_simulation.reproduction.table import MADE_UP, comparison_table, patients_table, sections

    console.print(comparison_table(found))
    if found.patients or found.published_patients:
        console.print(patients_table(found))
    for title, texts in sections(found).items():
        console.print(f"[italic]{title}[/]")
        for text in texts:
            console.print(f"  {plain(text)}", highlight=False)
    console.print(f"[bold]{plain(found.verdict)}[/]", highlight=False)
    if found.look_alike:
        console.print(f"[bold red]{MADE_UP}[/]", highlight=False)
    console.print(f"Report: [bold]{page}[/]", soft_wrap=True, highlight=False)


def _list() -> None:
    """All recipes; loads nothing that computes."""
    from normfed_simulation.reproduction import recipe

    console = Console(highlight=False)
    for name in recipe.names():
        _tell(console, name, recipe.load(name))
        console.print()
    console.print(as_typed("With data:    normfed reproduce NAME --data ROLE=DIR ..."))
    console.print(
        as_typed("To try it on small made-up data, which reproduces nothing: normfed reproduce NAME --look-alike")
    )


def _tell(console: Console, name: str, recipe: Recipe) -> None:
    from normfed_common.wording.parameters import show

    console.print(f"[bold]{name}[/]  {plain(recipe.title)}")
    console.print(f"  [dim]{plain(recipe.citation)}[/]")
    roles = [
        (role, f"{of.what} ({', '.join(of.datasets)}) {of.access}\nin the paper: {of.published}")
        for role, of in recipe.roles.items()
    ]
    metrics = list(dict.fromkeys(metric for row in recipe.table for metric in row.figures))
    count = sum(len(row.figures) for row in recipe.table)
    if recipe.segmentation is not None:
        said = f"{count} figures: surface Dice by scanner trained on and scanner tested on"
    else:
        said = f"{count} figures of {len(recipe.table)} rows: {', '.join(metrics)}"
    seen = "all" if recipe.compared == count else recipe.compared or "none"
    said += f"; {seen} compared with the paper or its repository"
    show(console, [*roles, ("published", said)])
