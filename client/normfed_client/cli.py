"""`normfed inspect`, `normfed preprocess`, `normfed score`: a hospital's own scans, on its own machine."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from normfed_common.deployment.terminal import NOTHING, print_table, wide_in_a_file
from normfed_common.study.options import SetOption
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, say
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from normfed_client.imaging.bids import Dataset, Visit
    from normfed_client.imaging.parts import Cast

COLUMNS = (
    "site",
    "people",
    "visits",
    "groups",
    "ages",
    "modalities (visits)",
    "without (people)",
    "brain masks",
    "lesion masks",
)
NUMBERS = ("people", "visits", "brain masks")

Folder = Annotated[Path, typer.Argument(help="A BIDS dataset, or a public one as it came; see `normfed datasets`.")]
Check = Annotated[bool, typer.Option(help="Open every scan and mask, as a study would.")]
Every = Annotated[bool, typer.Option("--every", help="Name everybody with a problem that many have, not one of them.")]


def inspect(
    folder: Path, check: bool, every: bool, title: Path, study: tuple[Path, Cast] | None, as_json: bool = False
) -> None:
    """Show what is in a BIDS dataset, per site, and what is wrong with it.

    Parameters
    ----------
    title
        How people know the folder.
    study
        The file of a study, and what it does with these people; None without one, where the defaults count.
    """
    from normfed_client.imaging.bids import Problem, read_dataset
    from normfed_client.imaging.faults import faults
    from normfed_client.imaging.part_table import people, print_roles
    from normfed_client.imaging.problem_list import print_problems

    dataset = read_dataset(folder)
    problems = list(dataset.problems)
    problems += [Problem(v.name, v.lacks(nearly)) for v in dataset.visits if (nearly := v.nearly_has())]
    if check:
        problems += [Problem(visit.name, fault) for visit in dataset.visits for fault in faults(visit)]
    first = _no_controls(dataset) if study is None else _cannot_begin(*study)
    few = "" if study is None and first else _too_few_sites(dataset)  # nobody is known to be healthy
    remarks = [remark for remark in (first, few, *_spelt_alike(dataset)) if remark]
    if as_json:
        cast = None if study is None else study[1]
        items = [_item(site, visits, cast) for site, visits in dataset.sites().items()]
        more = {} if cast is None else {"people": people(cast)}
        found = [asdict(problem) for problem in problems]
        say("sites", items, folder=str(title), visits=len(dataset.visits), remarks=remarks, problems=found, **more)
        return
    console = wide_in_a_file()
    console.print(f"[italic]{plain(str(title))}: {len(dataset.visits)} visits[/]", highlight=False, soft_wrap=True)
    known = {modality for visit in dataset.visits for modality in visit.images}
    print_table(console, COLUMNS, [_row(site, visits, known) for site, visits in dataset.sites().items()], NUMBERS)
    if study is not None:
        print_roles(console, dataset.sites(), str(study[0]), study[1])
    for remark in remarks:
        console.print(f"[yellow]![/] {plain(remark)}", highlight=False)
    everybody = print_problems(console, problems, "Left out, or worth a look", every)
    if not everybody:
        console.print(as_typed("[dim]To name everybody: normfed inspect DIR --every[/]"), highlight=False)
    if not check:
        console.print(
            as_typed("[dim]Names only were read. To open every scan: normfed inspect DIR --check[/]"), highlight=False
        )


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
    from normfed_client.scoring.screen import Screen
    from normfed_common.study.withdrawn import read as read_withdrawn

    by_name = {"T1w": t1w, "T2w": t2w, "FLAIR": flair, "pet": pet, "FA": fa, "MD": md}
    modalities = {modality: path for modality, path in by_name.items() if path is not None} | _by_modality(scan or [])
    if not inputs and not modalities:
        raise typer.BadParameter("Give scans, folders of scans or BIDS datasets, or --t1w, --flair, ...")
    screen = Screen(as_json)
    for sentence in read_withdrawn(run).sentences():
        screen.warn(sentence)
    code = screen.run(
        lambda watcher: score_inputs(
            run,
            inputs or [],
            out,
            brain_masks=brain_mask or [],
            modalities=modalities,
            device=device,
            site=site,
            watcher=watcher,
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


def _row(site: str, visits: list[Visit], known: set[str]) -> list[str]:
    from normfed_client.imaging.bids import people_without

    people = {visit.participant.subject: visit.participant for visit in visits}
    groups = Counter(person.group or "?" for person in people.values())
    ages = [person.age for person in people.values() if person.age is not None]
    modalities = Counter(modality for visit in visits for modality in visit.images)
    lesions = Counter(mask.label for visit in visits for mask in visit.lesions)
    return [
        site,
        str(len(people)),
        str(len(visits)),
        _counts(groups),
        f"{min(ages):.0f}–{max(ages):.0f}" if ages else NOTHING,
        _counts(modalities),
        _counts(people_without(visits, known)) or NOTHING,
        str(sum(visit.brain is not None for visit in visits)),
        _counts(lesions) or NOTHING,
    ]


def _cannot_begin(study: Path, cast: Cast) -> str:
    return f"{study} cannot begin with these people: {cast.why_not}" if cast.why_not else ""


def _item(site: str, visits: list[Visit], cast: Cast | None) -> dict[str, object]:
    """A site for a program to read."""
    from normfed_client.imaging.part_table import roles_of

    people = {visit.participant.subject: visit.participant for visit in visits}
    ages = [person.age for person in people.values() if person.age is not None]
    return {
        "name": site,
        "people": len(people),
        "visits": len(visits),
        "groups": Counter(person.group or None for person in people.values()),
        "ages": [min(ages), max(ages)] if ages else None,
        "modalities": Counter(modality for visit in visits for modality in visit.images),
        "brain_masks": sum(visit.brain is not None for visit in visits),
        "lesion_masks": Counter(mask.label for visit in visits for mask in visit.lesions),
        **({} if cast is None else {"roles": roles_of(site, cast)}),
    }


def _no_controls(dataset: Dataset) -> str:
    """That no group has the name that studies know, where one sounds healthy; empty else."""
    from normfed_client.imaging.groups import groups_of, none_healthy, sounding_healthy
    from normfed_common.study.data import DataConfig

    groups = groups_of(dataset.visits)
    if not sounding_healthy(groups):
        return ""  # of patients alone: studies learn from their lesion-free tissue
    why = none_healthy(groups, DataConfig.model_fields["control_groups"].default)
    return why[:1].upper() + why[1:]


def _too_few_sites(dataset: Dataset) -> str:
    """That a study could train at one site or none, by the default minimum or by that of hospitals; empty else."""
    from normfed_client.hospital.rules import Rules
    from normfed_client.imaging.cohort import people_to_train_on
    from normfed_common.study.federation import FederationConfig

    people = people_to_train_on(dataset.sites())
    minima = {
        "a study asks for (federation.minimum_cohort)": FederationConfig().minimum_cohort,
        "hospitals ask for (minimum_people of site.yaml)": Rules().minimum_people,
    }
    for who, minimum in minima.items():
        enough = [site for site, count in people.items() if count >= minimum]
        if len(enough) < 2:
            return (
                f"{f'Only {enough[0]}' if enough else 'No site'} has the {minimum} people to train on that {who} by "
                "default, without those held out: training at fewer than two sites is no federation. Add people or "
                "sites, or lower the minimum where that is allowed."
            )
    return ""


def _spelt_alike(dataset: Dataset) -> list[str]:
    """Sites, and scanners of a site, that are likely one, and count as several."""
    from normfed_client.imaging.cohort import person_of
    from normfed_client.imaging.scanners import nearly_alike

    sites = dataset.sites()
    scanners = {person_of(visit).scanner for visits in sites.values() for visit in visits} - sites.keys()
    kinds = {"sites": nearly_alike(sites), "scanners": nearly_alike(scanners)}
    return [
        f"The {kind} {', '.join(alike[:-1])} and {alike[-1]} differ in spelling alone, and count as {len(alike)}. "
        "If they are one, write them alike in participants.tsv or sessions.tsv."
        for kind, found in kinds.items()
        for alike in found
    ]


def _counts(counter: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counter.items()))
