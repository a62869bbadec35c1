"""Runs: begun, watched, stopped, resumed, passed on."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from normfed_common.deployment.terminal import print_wrapped
from normfed_common.study.options import SetOption
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain
from normfed_server.console.options import As, AsJson, Home, Key, RunName, Site, signer
from normfed_server.state.folder import DEFAULT, open_home, run_folder

if TYPE_CHECKING:
    from normfed_server.state.folder import ServerHome

EXIT = {"finished": 0, "finished, partial": 3, "failed": 2, "stopped": 4}


def run(
    study: Annotated[Path, typer.Argument(help="A study file.")],
    home: Home = DEFAULT,
    detach: Annotated[bool, typer.Option("--detach", help="Return without following the run.")] = False,
    canary: Annotated[bool, typer.Option(help="First try one batch at every site.")] = True,
    without: Annotated[
        list[str] | None, typer.Option(help="A site that the run may go on without. Repeatable.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Overrides the study's federation.rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the study's seed.")] = None,
    changed: SetOption = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Only show the cohorts in figures; nothing is trained.")
    ] = False,
    as_json: AsJson = False,
    operator: As = None,
    key: Key = None,
) -> None:
    """Train a study with the sites, and follow the run; Ctrl-C stops following, not the run."""
    from normfed_common.studies import load_study
    from normfed_common.study.changes import parsed
    from normfed_server.runs import starting
    from normfed_server.state.acting import acting

    opened = open_home(home)
    usual = {"federation.rounds": rounds, "seed": seed}
    changes = {key: value for key, value in usual.items() if value is not None} | parsed(changed or ())
    loaded, left_out = load_study(study, **changes), tuple(without or ())
    said: dict[str, Any] = {"study": loaded.name, "digest": loaded.digest, "canary": canary, "statistics": statistics}
    with acting(opened, signer(opened, operator, key), "run", "run", said | {"without": left_out}):
        name = starting.begin(opened, loaded, canary, left_out, statistics)
    if detach:
        typer.echo(name)
        return
    _follow(home, name, as_json)


def follow(
    name: RunName,
    home: Home = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Watch a run."""
    run_folder(open_home(home), name)
    _follow(home, name, as_json)


def runs(home: Home = DEFAULT) -> None:
    """List all runs and their states."""
    show_runs(home, Console(highlight=False), only_open=False)


def stop(name: RunName, home: Home = DEFAULT, operator: As = None, key: Key = None) -> None:
    """Stop a run; it can be resumed."""
    from normfed_server.runs import steering
    from normfed_server.state.acting import acting

    opened = open_home(home)
    with acting(opened, signer(opened, operator, key), "run", "stop", {"run": name}):
        steering.stop(opened, name)
    typer.echo(as_typed(f"{name} stops. Go on with: normfed server resume {name}"))


def resume(
    name: RunName,
    home: Home = DEFAULT,
    detach: Annotated[bool, typer.Option("--detach", help="Return without following the run.")] = False,
    as_json: AsJson = False,
    operator: As = None,
    key: Key = None,
) -> None:
    """Resume a run that was stopped or failed, from its last round."""
    from normfed_server.runs import steering
    from normfed_server.state.acting import acting
    from normfed_server.state.ledger import DONE

    opened = open_home(home)
    with acting(opened, signer(opened, operator, key), "run", "resume", {"run": name}):
        entry = steering.resume(opened, name)
    if entry.state in DONE and not as_json:
        typer.echo(steering.nothing_left(entry), err=True)
        raise typer.Exit(EXIT[str(entry.state)])
    if not detach:
        _follow(home, name, as_json)


def excuse(name: RunName, site: Site, home: Home = DEFAULT, operator: As = None, key: Key = None) -> None:
    """Let a run go on without a site, even the largest, as long as its quorum is met."""
    from normfed_server.runs import steering
    from normfed_server.state.acting import acting

    opened = open_home(home)
    with acting(opened, signer(opened, operator, key), "run", "excuse", {"run": name, "site": site}):
        steering.excuse(opened, run_folder(opened, name), site)
    typer.echo(f"{name} may go on without {site}.")


def retrain(
    name: RunName,
    without: Annotated[list[str], typer.Option(help="A site that withdrew, or of which a person did. Repeatable.")],
    home: Home = DEFAULT,
    why: Annotated[str, typer.Option(help="Kept in both runs' folders.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Return without following the run.")] = False,
    as_json: AsJson = False,
    operator: As = None,
    key: Key = None,
) -> None:
    """Train a run's study again with its sites but those that withdrew; the old run is marked, and stopped."""
    from normfed_server.runs import withdrawing
    from normfed_server.state.acting import acting

    opened = open_home(home)
    said: dict[str, Any] = {"run": name, "without": tuple(without), "why": why}
    with acting(opened, signer(opened, operator, key), "run", "retrain", said):
        made = withdrawing.retrain(opened, name, tuple(without), why)
    _renew_report(opened, name)
    if detach:
        typer.echo(made)
        return
    _follow(home, made, as_json)


def mark(
    name: RunName,
    withdrawn: Annotated[list[str], typer.Option(help="A site that withdrew. Repeatable.")],
    home: Home = DEFAULT,
    people: Annotated[bool, typer.Option("--people", help="Some of its people did, not the site.")] = False,
    why: Annotated[str, typer.Option(help="Kept in the run's folder.")] = "",
    operator: As = None,
    key: Key = None,
) -> None:
    """Mark a run whose model was made with a site, or people, that withdrew; say how much of it is theirs."""
    from normfed_server.results import influence
    from normfed_server.runs import withdrawing
    from normfed_server.state.acting import acting

    opened = open_home(home)
    said: dict[str, Any] = {"run": name, "withdrawn": tuple(withdrawn), "people": people, "why": why}
    with acting(opened, signer(opened, operator, key), "run", "mark", said):
        made = withdrawing.mark(opened, name, tuple(withdrawn), people, why)
    _renew_report(opened, name)
    console = Console(highlight=False)
    for sentence in [*made.sentences(), *influence.sentences(run_folder(opened, name))]:
        print_wrapped(console, sentence, "")
    if not made.replaced_by and made.whole:
        left_out = " ".join(f"--without {site}" for site in sorted(made.whole))
        console.print(as_typed(f"Make it again: normfed server retrain {name} {left_out}"), soft_wrap=True)


def export(
    name: RunName,
    home: Home = DEFAULT,
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("export"),
    operator: As = None,
    key: Key = None,
) -> None:
    """Copy a finished run's model, figures, report, participation and checksums, to pass on."""
    from normfed_common.study.withdrawn import read as read_withdrawn
    from normfed_server.results.exporting import export as export_run
    from normfed_server.state.acting import acting

    opened = open_home(home)
    with acting(opened, signer(opened, operator, key), "read", "export", {"run": name}):
        made = export_run(run_folder(opened, name), out)
    for path in made:
        typer.echo(path)
    for sentence in read_withdrawn(run_folder(opened, name)).sentences():
        typer.echo(sentence, err=True)


def show_runs(home: Path, console: Console, only_open: bool) -> None:
    """A line per run."""
    from normfed_server.runs import steering
    from normfed_server.state.ledger import State

    opened = open_home(home)
    entries = opened.ledger.all()
    entries = [entry for entry in entries if not only_open or entry.state is State.OPEN]
    if not entries:
        console.print(
            as_typed("No run is open." if only_open else "No runs yet. Begin one: normfed server run STUDY.yaml")
        )
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        console.print(f"{entry.name:<{width}}  {when(entry.created)}  [bold]{entry.state}[/]", soft_wrap=True)
        print_wrapped(console, entry.why, "    ")
        for sentence in steering.withdrawal(opened.runs / entry.name):
            print_wrapped(console, sentence, "    ")


def _renew_report(home: ServerHome, name: str) -> None:
    """Make a finished run's page again: it says who withdrew."""
    from normfed_server.report.page import write_report  # plotly and more
    from normfed_server.runs.folder import counts_only, reopen

    run = reopen(home.runs / name)
    if run.finished and not counts_only(run.folder):
        write_report(run)


def _follow(home: Path, name: str, as_json: bool) -> None:
    from normfed_server.runs.following import Lines, Live, follow
    from normfed_server.state.notes import COHORTS, COHORTS_PAGE

    opened = open_home(home)
    console = Console(stderr=True, highlight=False)
    if not as_json:
        console.print(f"[bold]{name}[/] in {opened.runs / name}", soft_wrap=True)
    try:
        with Lines() if as_json else Live(console) as shown:
            entry = follow(opened, name, shown)
    except KeyboardInterrupt:
        console.print(as_typed(f"\nThe run goes on. Watch it again: normfed server follow {name}"))
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps({"event": "ended", "state": str(entry.state), "why": entry.why}))
    else:
        folder = opened.runs / name
        counted = (folder / COHORTS).exists()
        report = folder / (COHORTS_PAGE if counted else "report.html")
        console.print(f"[bold]{entry.state}[/]. {plain(entry.why)}".rstrip(), soft_wrap=True)
        if counted:
            from normfed_server.report.cohort_words import show_cohorts  # numpy and more: not to follow a run
            from normfed_server.results import cohorts

            show_cohorts(console, cohorts.read(folder))
        if report.exists():
            console.print(f"Report: [bold]{report}[/]", soft_wrap=True)
    raise typer.Exit(EXIT[str(entry.state)])


def when(stamp: str) -> str:
    """A time of this machine's zone, for a table; a dash where there is none."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%d %b %H:%M")
    except ValueError:
        return "–"
