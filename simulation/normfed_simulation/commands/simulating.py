"""`normfed simulate`, `normfed compare`, `normfed statistics` and `normfed report`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from normfed_common import completing
from normfed_common.foundation.errors import StudyError
from normfed_common.shipped import shipped_study
from normfed_common.studies import load_study
from normfed_common.study.changes import parsed
from normfed_common.study.options import SetOption
from normfed_common.wording import machine
from normfed_common.wording.terminal_text import plain
from normfed_simulation.commands.options import (
    AttackOption,
    DataOption,
    DeviceOption,
    EngineName,
    EngineOption,
    JsonLinesOption,
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
    from normfed_common.study.config import StudyConfig
    from normfed_server.runs.folder import Run
    from normfed_simulation.conditions import Conditions
    from normfed_simulation.started import Means, Started


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
        str | None,
        typer.Option(
            help="Overrides the study's strategy; see `normfed strategies`.", autocompletion=completing.strategies
        ),
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
    as_json: JsonLinesOption = False,
) -> None:
    """Train one model at several hospitals on this machine, and report how well it finds lesions."""
    if resume is not None:
        said = (study, rounds, seed, strategy, changed, attack, hospital_times or None, leave_one_site_out or None)
        if any(change is not None for change in said):
            raise StudyError("--resume continues the run's own study; leave out STUDY and options that change it.")
        from normfed_simulation import started

        begun = started.resume(resume, data or [], _means(engine, device, workers))
    else:
        own: dict[str, Any] = {} if strategy is None else {"strategy": _strategy(strategy)}
        if leave_one_site_out:
            own["comparisons.leave_one_site_out"] = True
        chosen = load_study(study or shipped_study("demo"), **changes_of(rounds, seed, own, changed))
        begun = _begin(chosen, data, out, _means(engine, device, workers), _conditions(hospital_times, attack))
    _finish(begun, Output(quiet, as_json))


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
    as_json: JsonLinesOption = False,
) -> None:
    """Train the same study under several strategies: who gains, who loses, by how much?"""
    path = study or shipped_study("siamese")
    before = load_study(path, **parsed(changed or ()))  # ahead of what computes, which takes seconds to load

    from normfed_simulation import comparison

    entries = None if strategies is None else comparison.listed(strategies)
    under = None if compressions is None else comparison.names(compressions)
    own = comparison.changes(before, entries, under, repeats)
    chosen = load_study(path, **changes_of(rounds, seed, own, changed))
    begun = _begin(chosen, data, out, _means(engine, device, workers), _conditions(hospital_times, attack))
    _finish(begun, Output(quiet, as_json))


def statistics(
    study: StudyArgument = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    engine: EngineOption = EngineName.local,
    changed: SetOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    quiet: QuietOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Show the cohorts of a study in figures, site by site, before anything is trained."""
    chosen = load_study(study or shipped_study("demo"), **parsed(changed or ()))  # ahead of what computes

    from normfed_server.report.cohort_words import show_cohorts
    from normfed_server.results import cohorts
    from normfed_simulation import counting

    begun = counting.begin(chosen, data or [], out, _means(engine, device, workers))
    console, output = Console(stderr=True), Output(quiet, as_json)
    with interrupted(console), output.watching(console) as watcher:
        page = begun.finish(watcher)
    if not output.told_to_scripts(page, begun.run.folder):
        show_cohorts(console, cohorts.read(begun.run.folder))
        console.print(f"Page: [bold]{page}[/]", soft_wrap=True, highlight=False)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: machine.JsonOption = False,
) -> None:
    """Rebuild report, tables and figures of a finished run, or statistics.html of one that asked for the cohorts."""
    from normfed_server.report.cohorts import write_cohorts
    from normfed_server.runs.folder import counts_only, reopen
    from normfed_simulation import patients
    from normfed_simulation.paper.writing import write_paper

    opened, counted = reopen(run), counts_only(run)
    if not counted and opened.finished:
        write_paper(opened)
    page = write_cohorts(opened) if counted else patients.report(opened)
    if as_json:
        machine.say("pages", [{"name": page.stem, "path": str(page)}], run=str(run))
    else:
        typer.echo(page)


def _strategy(text: str) -> Any:
    from normfed_simulation.comparison import one

    return one(text)


def _begin(study: StudyConfig, data: list[Path] | None, out: Path, means: Means, conditions: Conditions) -> Started:
    """A new run; what computes is loaded once the study is known to be one."""
    from normfed_simulation import started

    return started.begin(study, data or [], out, means, conditions)


def _conditions(hospital_times: bool, attack: list[str] | None) -> Conditions:
    from normfed_simulation.attacks import parse
    from normfed_simulation.conditions import Conditions

    return Conditions(hospital_times, dict(parse(text) for text in attack or []))


def _means(engine: EngineName, device: str, workers: int | None) -> Means:
    from normfed_simulation.started import Means

    return Means(engine.value, device, workers)


def _finish(begun: Started, output: Output) -> None:
    from normfed_simulation import study_data

    console, run = Console(stderr=True), begun.run
    if not output.silent:
        console.print(f"[bold]{run.study.name}[/], seed {run.study.seed}, in {run.folder}", highlight=False)
    with (
        resumable(console, lambda: _going_on(run), run.folder.exists),
        output.watching(console) as watcher,
    ):
        report_path = begun.finish(watcher)
    if not output.told_to_scripts(report_path, run.folder):
        several = run.study.comparisons.strategies or run.study.comparisons.compressions
        _print_summary(console, run, report_path, bool(several))
        if begun.data is None:
            console.print(f"Scans: {study_data.scans_of(run)}", soft_wrap=True, highlight=False)


def _going_on(run: Run) -> str:
    """What goes on where it was stopped: a run with all its figures lacks its report alone."""
    folder = shlex.quote(str(run.folder))
    return f"normfed report {folder}" if run.finished else f"normfed simulate --resume {folder}"


def _print_summary(console: Console, run: Run, report_path: Path, with_league: bool) -> None:
    from normfed_server.report.drowned import drowned
    from normfed_server.report.headline import headline
    from normfed_server.report.promises import summary
    from normfed_server.report.strategies import comparison
    from normfed_server.report.words import alone_sentences, participation_sentence
    from normfed_server.runs.folder import FIGURES, PRIVACY, TABLES
    from normfed_simulation import patients, people
    from normfed_simulation.commands.tables import league_table, models_table, unseen_table

    folder, results = run.folder, people.results(run)
    for sentence in alone_sentences(results):
        console.print(f"[yellow]![/] {plain(sentence)}", highlight=False)
    first, *others = [*comparison(results), *headline(results)]
    console.print(f"[bold]{plain(first)}[/]", highlight=False)
    for sentence in others:
        console.print(plain(sentence), highlight=False)
    partial = participation_sentence(results)
    for sentence in filter(None, (partial, *patients.ages(results, patients.sites_of(run)).sentences())):
        console.print(f"[yellow]![/] {plain(sentence)}", highlight=False)
    if results.nobody_ill:
        console.print(f"To score new scans: normfed score {plain(str(folder))} SCANS --out DIR", soft_wrap=True)
    else:
        console.print(league_table(results) if with_league else models_table(results))
    if results.unseen is not None:
        console.print(unseen_table(results.unseen))
    console.print(f"Report: [bold]{report_path}[/]", soft_wrap=True, highlight=False)
    if paper := [str(folder / name) for name in (TABLES, FIGURES) if (folder / name).exists()]:
        console.print(f"For a paper: {', '.join(paper)}", soft_wrap=True, highlight=False)
    for sentence in drowned(results):
        console.print(f"[yellow]![/] {plain(sentence)}", highlight=False)
    if results.privacy is not None:
        console.print(f"Privacy: {folder / PRIVACY}. {summary(results.privacy)}", soft_wrap=True, highlight=False)
    console.print(f"Anomaly maps: {folder / 'maps'}", soft_wrap=True, highlight=False)
