"""`normfed study domain-shift`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from normfed_common import completing
from normfed_common.foundation.errors import StudyError
from normfed_common.shipped import shipped_study
from normfed_common.studies import load_study
from normfed_common.study.options import SetOption
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain
from normfed_simulation.commands.options import (
    DataOption,
    DeviceOption,
    EngineName,
    EngineOption,
    JsonLinesOption,
    OutOption,
    QuietOption,
    RoundsOption,
    SeedOption,
    WorkersOption,
    changes_of,
)
from normfed_simulation.commands.output import Output, resumable

if TYPE_CHECKING:
    from normfed_simulation.domain_shift.folder import ShiftFolder
    from normfed_simulation.watcher import Watcher

study = typer.Typer(
    help="Studies of one question, each many runs of one study: domain-shift, of what another scanner costs.",
    no_args_is_help=True,
)


@study.callback()
def _studies() -> None:
    """Studies of one question, each many runs of one study: domain-shift, of what another scanner costs."""


@study.command("domain-shift")
def domain_shift(
    study: Annotated[
        Path | None,
        typer.Argument(help="A study file. Default: six synthetic scanners.", autocompletion=completing.studies),
    ] = None,
    harmonizations: Annotated[
        str | None,
        typer.Option(
            help="Transforms separated by commas, such as none,nyul,combat; with parameters: "
            "'nyul,{name: fourier-amplitude, beta: 0.1}'; several in a row as a YAML list of them. Default: those of "
            "the study, or else z-score, white-stripe, nyul, histogram-template and combat."
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Train every model this often, from other weights and batches, to see the spread."),
    ] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    engine: EngineOption = EngineName.local,
    rounds: RoundsOption = None,
    seed: SeedOption = None,
    changed: SetOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Harmonizations at the same time. Default: as many as cores allow.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of an interrupted study to finish; leave out STUDY.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """How much does a model lose when it meets another scanner, and which harmonization wins it back?"""
    path = study or shipped_study("domain-shift")
    if resume is None:
        load_study(path, **changes_of(rounds, seed, {}, changed))  # ahead of what computes, which takes seconds to load

    from normfed_client.hospital.device import choose_device
    from normfed_simulation import experiment
    from normfed_simulation.datasets.recognition import together_as_bids
    from normfed_simulation.domain_shift import folder, running
    from normfed_simulation.domain_shift.harmonizations import changes, planned

    choose_device(device)
    if resume is not None:
        if any(change is not None for change in (study, harmonizations, repeats, rounds, seed, changed)):
            raise StudyError("--resume continues a study; leave out STUDY and options that change it.")
        opened = folder.resume(resume)
        root = together_as_bids(data or ([opened.data] if opened.data else []), opened.shift.study)
    else:
        given = changes_of(rounds, seed, changes(harmonizations, repeats), changed)
        chosen = load_study(path, **given)
        root = together_as_bids(data or [], chosen)
        studies = planned(chosen).studies
        for name, error in zip(studies, experiment.check_each(list(studies.values()), root), strict=True):
            if error is not None:  # the others have figures all the same, and the page says why
                typer.echo(f"! {name} will have no figures: {plain(str(error))}", err=True)
        opened = folder.begin(chosen, root, out)
    waiting = sum(not running.finished(opened, name) for name in opened.shift.studies)
    beside, each = running.shared_out(experiment.cores(), running.sites_of(opened.shift.study, root), waiting)
    if parallel is not None:
        beside, each = parallel, max(experiment.cores() // parallel, 1) if parallel < experiment.cores() else 0
    means = running.Means(root, engine.value, device, each if workers is None else workers, beside)
    with folder.discarded_if_refused(opened):
        _run(opened, means, Output(quiet, as_json))


def _run(opened: ShiftFolder, means: Any, output: Output) -> None:
    from normfed_simulation.domain_shift import running
    from normfed_simulation.domain_shift.assembling import assembled
    from normfed_simulation.domain_shift.layout import write
    from normfed_simulation.domain_shift.page import write_page
    from normfed_simulation.domain_shift.table import shift_table

    console, names = Console(stderr=True), list(opened.shift.studies)

    def shown(name: str) -> AbstractContextManager[Watcher]:
        if name in names and not output.silent:
            console.print(f"[bold]{plain(name)}[/] ({names.index(name) + 1} of {len(names)})", highlight=False)
        return output.watching(console)

    if not output.silent:
        console.print(f"[bold]{opened.shift.study.name}[/], {len(names)} runs, in {opened.path}", highlight=False)
    with resumable(console, lambda: f"normfed study domain-shift --resume {opened.path}", lambda: opened.begun):
        failed = running.run_all(opened, means, shown)
    results = assembled(opened, failed)
    write(opened.path, results)
    page = write_page(opened.path, results)
    if not output.told_to_scripts(page, opened.path):
        console.print(shift_table(results))
        for topic, sentences in results.words.items():
            console.print(f"[bold]{topic}.[/] {plain(' '.join(sentences))}", highlight=False)
        console.print(f"Report: [bold]{page}[/]", soft_wrap=True, highlight=False)
    if failed:
        console.print(
            as_typed(
                f"[yellow]![/] Failed: {plain(', '.join(failed))}. Try again with:\n"
                f"  normfed study domain-shift --resume {opened.path}"
            ),
            soft_wrap=True,
            highlight=False,
        )
        raise typer.Exit(1)
