"""`normfed simulate`, `normfed compare`, `normfed statistics` and `normfed report`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from normfed_common.foundation.errors import StudyError
from normfed_common.shipped import shipped_study
from normfed_common.studies import load_study
from normfed_common.study.changes import parsed
from normfed_common.study.options import SetOption
from normfed_common.wording.terminal_text import plain
from normfed_simulation.commands.options import (
    AttackOption,
    DataOption,
    DeviceOption,
    EngineName,
    EngineOption,
    JsonOption,
    OutOption,
    QuietOption,
    RoundsOption,
    SeedOption,
    StudyArgument,
    TimesOption,
    WorkersOption,
    changes_of,
)
from normfed_simulation.commands.output import Output, interrupted, resumable

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_server.runs.folder import Run
    from normfed_simulation.conditions import Conditions


def simulate(
    study: StudyArgument = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    engine: EngineOption = EngineName.local,
    rounds: RoundsOption = None,
    seed: SeedOption = None,
    changed: SetOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    strategy: Annotated[
        str | None, typer.Option(help="Overrides the study's strategy; see `normfed strategies`.")
    ] = None,
    leave_one_site_out: Annotated[
        bool,
        typer.Option("--leave-one-site-out", help="Also train without each training site in turn, and test on it."),
    ] = False,
    hospital_times: TimesOption = False,
    attack: AttackOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="Run folder of an interrupted run to finish; leave out STUDY.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train one model at several hospitals on this machine, and report how well it finds lesions."""
    from normfed_client.hospital.device import choose_device
    from normfed_server.runs.folder import begin, reopen
    from normfed_simulation import experiment, study_data
    from normfed_simulation import run_folder as runs
    from normfed_simulation.commands.comparison import one
    from normfed_simulation.conditions import conditions_of
    from normfed_simulation.datasets.recognition import together_as_bids

    choose_device(device)
    if resume is not None:
        said = (study, rounds, seed, strategy, changed, attack, hospital_times or None, leave_one_site_out or None)
        if any(change is not None for change in said):
            raise StudyError("--resume continues the run's own study; leave out STUDY and options that change it.")
        run = reopen(resume)
        experiment.check_resumable(run)
        before = study_data.data_of(run)
        root = together_as_bids(data or ([before] if before else []), run.study)
        conditions = conditions_of(run)
        experiment.check(run.study, root, conditions)
    else:
        own: dict[str, Any] = {} if strategy is None else {"strategy": one(strategy)}
        if leave_one_site_out:
            own["comparisons.leave_one_site_out"] = True
        conditions = _conditions(hospital_times, attack)
        chosen = load_study(study or shipped_study("demo"), **changes_of(rounds, seed, own, changed))
        root = together_as_bids(data or [], chosen)
        experiment.check(chosen, root, conditions)
        run = begin(chosen, out)
    with nullcontext() if resume is not None else runs.discarded_if_refused(run):
        _run(run, root, engine, device, workers, conditions, Output(quiet, as_json))


def compare(
    study: StudyArgument = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Names separated by commas, such as fedavg,ditto,local,pooled; the first becomes the study's own. "
            "With parameters: 'fedavg,{name: ditto, lambda: 0.5}'. `all` takes every strategy. Default: those of the "
            "study, or else the usual ones."
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Train every model this often, from other weights and batches, to see the spread."),
    ] = None,
    compressions: Annotated[
        str | None, typer.Option(help="Also train the study's own strategy under these: fp16,bf16,int8.")
    ] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    engine: EngineOption = EngineName.local,
    rounds: RoundsOption = None,
    seed: SeedOption = None,
    changed: SetOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    hospital_times: TimesOption = False,
    attack: AttackOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the same study under several strategies: who gains, who loses, by how much?"""
    from normfed_client.hospital.device import choose_device
    from normfed_server.runs.folder import begin
    from normfed_simulation import experiment
    from normfed_simulation import run_folder as runs
    from normfed_simulation.commands import comparison
    from normfed_simulation.datasets.recognition import together_as_bids

    choose_device(device)
    path = study or shipped_study("siamese")
    own = comparison.changes(load_study(path, **parsed(changed or ())), strategies, compressions, repeats)
    conditions = _conditions(hospital_times, attack)
    chosen = load_study(path, **changes_of(rounds, seed, own, changed))
    root = together_as_bids(data or [], chosen)
    experiment.check(chosen, root, conditions)
    run = begin(chosen, out)
    with runs.discarded_if_refused(run):
        _run(run, root, engine, device, workers, conditions, Output(quiet, as_json))


def statistics(
    study: StudyArgument = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    engine: EngineOption = EngineName.local,
    changed: SetOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the cohorts of a study in figures, site by site, before anything is trained."""
    from normfed_client.hospital.device import choose_device
    from normfed_server.report.cohort_words import show_cohorts
    from normfed_server.results import cohorts
    from normfed_server.runs.folder import begin
    from normfed_simulation import counting, experiment
    from normfed_simulation import run_folder as runs
    from normfed_simulation.commands.screen import JsonLines, Screen
    from normfed_simulation.datasets.recognition import together_as_bids

    choose_device(device)
    chosen = load_study(study or shipped_study("demo"), **parsed(changed or ()))
    root = together_as_bids(data or [], chosen)
    counting.check(chosen, root)
    run = begin(chosen, out, {"statistics": True})
    console, output = Console(stderr=True), Output(quiet, as_json)
    count = experiment.worker_count(workers)
    with (
        runs.discarded_if_refused(run),
        interrupted(console, "Give the same command again: scans that are prepared are kept."),
        JsonLines(quiet) if output.silent else Screen(console) as watcher,
    ):
        page = counting.count(run, root, engine.value, device, count, watcher)
    if not output.told_to_scripts(page, run.folder):
        show_cohorts(console, cohorts.read(run.folder))
        console.print(f"Page: [bold]{page}[/]", soft_wrap=True, highlight=False)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
) -> None:
    """Rebuild report.html of a finished run, or statistics.html of one that asked for the cohorts in figures."""
    from normfed_server.report.cohorts import write_cohorts
    from normfed_server.runs.folder import counts_only, reopen
    from normfed_simulation import patients

    opened = reopen(run)
    typer.echo(write_cohorts(opened) if counts_only(run) else patients.report(opened, None))


def _conditions(hospital_times: bool, attack: list[str] | None) -> Conditions:
    from normfed_simulation.attacks import parse
    from normfed_simulation.conditions import Conditions

    return Conditions(hospital_times, dict(parse(text) for text in attack or []))


def _run(
    run: Run,
    data: Path | None,
    engine: EngineName,
    device: str,
    workers: int | None,
    conditions: Conditions,
    output: Output,
) -> None:
    from normfed_simulation import experiment, study_data
    from normfed_simulation.commands.screen import JsonLines, Screen

    console = Console(stderr=True)
    count = experiment.worker_count(workers)
    if not output.silent:
        console.print(f"[bold]{run.study.name}[/], seed {run.study.seed}, in {run.folder}", highlight=False)
    with (
        resumable(console, f"normfed simulate --resume {run.folder}"),
        JsonLines(output.quiet) if output.silent else Screen(console) as watcher,
    ):
        report_path = experiment.simulate(run, data, engine.value, device, count, watcher, conditions)
    if not output.told_to_scripts(report_path, run.folder):
        several = run.study.comparisons.strategies or run.study.comparisons.compressions
        _print_summary(console, run.folder, report_path, bool(several))
        if data is None:
            console.print(f"Scans: {study_data.scans_of(run)}", soft_wrap=True, highlight=False)


def _print_summary(console: Console, folder: Path, report_path: Path, with_league: bool) -> None:
    from normfed_server.report.drowned import drowned
    from normfed_server.report.findings import headline
    from normfed_server.report.promises import summary
    from normfed_server.report.words import alone_sentences, participation_sentence
    from normfed_server.results.layout import read
    from normfed_server.runs.folder import PRIVACY
    from normfed_simulation.commands.tables import league_table, models_table, unseen_table

    results = read(folder)
    for sentence in alone_sentences(results):
        console.print(f"[yellow]![/] {plain(sentence)}", highlight=False)
    console.print(f"[bold]{plain(headline(results))}[/]", highlight=False)
    partial = participation_sentence(results)
    if partial:
        console.print(f"[yellow]![/] {plain(partial)}", highlight=False)
    console.print(league_table(results) if with_league else models_table(results))
    if results.unseen is not None:
        console.print(unseen_table(results.unseen))
    console.print(f"Report: [bold]{report_path}[/]", soft_wrap=True, highlight=False)
    for sentence in drowned(results):
        console.print(f"[yellow]![/] {plain(sentence)}", highlight=False)
    if results.privacy is not None:
        console.print(f"Privacy: {folder / PRIVACY}. {summary(results.privacy)}", soft_wrap=True, highlight=False)
    console.print(f"Anomaly maps: {folder / 'maps'}", soft_wrap=True, highlight=False)
