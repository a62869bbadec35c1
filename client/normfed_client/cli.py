"""`normfed preprocess`, `normfed score`: a hospital's own scans, on its own machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from normfed_common.study.options import SetOption
from normfed_common.wording.machine import JsonOption, say
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from normfed_client.imaging.bids import Visit

Folder = Annotated[Path, typer.Argument(help="A BIDS dataset, or a public one as it came; see `normfed datasets`.")]


def preprocess(
    folder: Folder,
    study: Annotated[Path | None, typer.Option(help="Take modalities and preprocessing from this study.")] = None,
    changed: SetOption = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="T1w, FLAIR, ...; repeatable. Default: T1w and FLAIR, where a visit has them."),
    ] = None,
    voxel_size: Annotated[int, typer.Option(min=1, max=4, help="Voxel size of the common grid, in mm.")] = 2,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Register and normalise every scan of a dataset into the cache, so that studies start without delay."""
    from normfed_client.imaging.bids import Problem, read_dataset
    from normfed_client.imaging.cache import default_root
    from normfed_client.imaging.preparation import prepare_all
    from normfed_client.imaging.preprocessing import Recipe, missing_modalities
    from normfed_client.imaging.problem_list import print_problems
    from normfed_common.studies import study_if_any
    from normfed_common.study.modalities import asked
    from normfed_common.study.preprocessing import PreprocessingConfig

    dataset = read_dataset(folder)
    required = asked(modality or ("T1w", "FLAIR"))
    recipe = Recipe(PreprocessingConfig(voxel_size_mm=voxel_size), required, None)
    loaded = study_if_any(study, changed)
    if loaded is not None:
        recipe, required = Recipe.of(loaded), loaded.data.required
    ready = [visit for visit in dataset.visits if not missing_modalities(visit, required)]
    problems = list(dataset.problems)
    problems += [Problem(v.name, v.lacks(missing_modalities(v, required))) for v in dataset.visits if v not in ready]
    console = Console(stderr=True)
    columns = (
        TextColumn("Preprocessing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(ready))

        def told(visit: Visit, failure: str | None) -> None:
            progress.advance(task)
            if failure:
                progress.console.print(f"[yellow]![/] {plain(failure)}", highlight=False)

        count = workers or len(os.sched_getaffinity(0))
        prepared = prepare_all(ready, recipe, default_root() / "scans", count, told)
    problems += prepared.problems
    if as_json:
        left_out = [{"name": problem.what, "why": problem.why} for problem in problems]
        say("left out", left_out, prepared=prepared.done, asked=len(ready), folder=str(default_root() / "scans"))
        return
    console.print(
        f"{prepared.done} of {len(ready)} visits with {' and '.join(required)} are in {default_root() / 'scans'}",
        highlight=False,
    )
    print_problems(console, problems, "Left out")


Scan = typer.Option(help="That scan of one person, whatever its name says.", show_default=False)


def score(
    run: Annotated[Path, typer.Argument(help="A finished run folder, such as runs/demo-20260101-120000.")],
    out: Annotated[Path, typer.Option(help="Folder for the maps and tables: BIDS derivatives.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Scans, folders of scans, BIDS datasets; scans of one person share the name up to the modality.",
        ),
    ] = None,
    brain_mask: Annotated[
        list[Path] | None,
        typer.Option(help="Brain mask of the person; repeatable for several people, told apart by BIDS names."),
    ] = None,
    t1w: Annotated[Path | None, Scan] = None,
    t2w: Annotated[Path | None, Scan] = None,
    flair: Annotated[Path | None, Scan] = None,
    pet: Annotated[Path | None, Scan] = None,
    fa: Annotated[Path | None, Scan] = None,
    md: Annotated[Path | None, Scan] = None,
    scan: Annotated[
        list[str] | None, typer.Option(metavar="MODALITY=FILE", help="The same of any other, such as ce-GD_T1w=x.nii.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:1 for the second GPU.")] = "auto",
    site: Annotated[
        str | None,
        typer.Option(help="Use this site's model; needed where sites have their own (fedbn, ditto, ...)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per person, a line each.")] = False,
) -> None:
    """Make anomaly maps of new scans with the model of a run, each on its scan's own grid, and list their clusters.

    Nobody stops the others: exit code 3 if somebody could not be scored, 2 if nobody could.
    """
    from normfed_client.scoring.scoring import score_inputs
    from normfed_client.scoring.screen import ScoreScreen
    from normfed_common.study.withdrawn import read as read_withdrawn

    by_name = {"T1w": t1w, "T2w": t2w, "FLAIR": flair, "pet": pet, "FA": fa, "MD": md}
    modalities = {modality: path for modality, path in by_name.items() if path is not None} | _by_modality(scan or [])
    if not inputs and not modalities:
        raise typer.BadParameter("Give scans, folders of scans or BIDS datasets, or --t1w, --flair, ...")
    screen = ScoreScreen(as_json)
    for sentence in read_withdrawn(run).sentences():
        screen.warn(sentence)
    code = screen.run(
        lambda listener: score_inputs(
            run,
            inputs or [],
            out,
            brain_masks=brain_mask or [],
            modalities=modalities,
            device=device,
            site=site,
            listener=listener,
        )
    )
    raise typer.Exit(code)


def _by_modality(said: list[str]) -> dict[str, Path]:
    """``MODALITY=FILE`` as a table."""
    pairs = [text.partition("=") for text in said]
    for modality, _, path in pairs:
        if not modality or not path:
            raise typer.BadParameter(
                f"{modality}: expected MODALITY=FILE, such as ce-GD_T1w=scan.nii.gz", param_hint="--scan"
            )
    return {modality: Path(path) for modality, _, path in pairs}
