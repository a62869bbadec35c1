"""`normfed simulate` and `normfed report`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from normfed_common.errors import StudyError


class EngineName(StrEnum):
    """Who carries the messages."""

    local = "local"
    ray = "ray"


def simulate(
    study: Annotated[
        Path | None, typer.Argument(help="The study; without it the demo with six synthetic hospitals.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A BIDS dataset; participants.tsv needs the column site.")] = None,
    out: Annotated[Path, typer.Option(help="Where the run folder is made.")] = Path("runs"),
    engine: Annotated[
        EngineName, typer.Option(help="local: this process and its workers; ray: Flower's runtime.")
    ] = EngineName.local,
    rounds: Annotated[int | None, typer.Option(min=1, help="Instead of the study's federation.rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the study's seed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; 0 does all the work in this one.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Finish an interrupted run.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors, and the report's path.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")] = False,
) -> None:
    """Train one model at several hospitals on this machine, and report how well it finds lesions."""
    from normfed_client.site import choose_device
    from normfed_common.study.load import load_study
    from normfed_simulation import experiment, runs
    from normfed_simulation.screen import JsonLines, Screen

    choose_device(device)
    if resume is not None:
        if study is not None or rounds is not None or seed is not None:
            raise StudyError("--resume goes on with the run's own study; leave out STUDY, --rounds and --seed.")
        run = runs.reopen(resume)
        experiment.check_resumable(run)
        data = data or _data_of(run.sites_file)
    else:
        changes: dict[str, Any] = {"federation": {"rounds": rounds}} if rounds is not None else {}
        if seed is not None:
            changes["seed"] = seed
        run = runs.begin(load_study(study or runs.shipped_study("demo"), **changes), out)
    console = Console(stderr=True)
    count = workers if workers is not None else experiment.default_workers(64)
    if not (quiet or as_json):
        console.print(f"[bold]{run.study.name}[/], seed {run.study.seed}, in {run.folder}", highlight=False)
    try:
        with JsonLines(quiet) if quiet or as_json else Screen(console) as watcher:
            report_path = experiment.simulate(run, data, engine.value, device, count, watcher)
    except KeyboardInterrupt:
        console.print(f"\nStopped. Go on with:\n  normfed simulate --resume {run.folder}", highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps({"event": "report", "path": str(report_path), "run": str(run.folder)}))
    elif quiet:
        typer.echo(report_path)
    else:
        _print_summary(console, run.folder, report_path)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
) -> None:
    """Build report.html of a finished run again."""
    from normfed_simulation import runs
    from normfed_simulation.report.page import write_report

    typer.echo(write_report(runs.reopen(run), None))


def _data_of(sites_file: Path) -> Path | None:
    """The dataset of an interrupted run; None where it was the phantom, which is found by its content."""
    if not sites_file.exists():
        return None
    data = Path(json.loads(sites_file.read_text())["sites"][0]["data"])
    return None if "phantoms" in data.parts else data


def _print_summary(console: Console, folder: Path, report_path: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    table = Table(title="Mean over patients [dim](95 % interval)[/]; the worst site on the right", title_justify="left")
    for column in ("model", "AUROC", "average precision", "best Dice", "worst site's AUROC"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, model in metrics["evaluation"].items():
        worst = model["worst_site"]["auroc"]
        cells = [_cell(model["all"].get(metric)) for metric in ("auroc", "auprc", "best_dice")]
        table.add_row(name, *cells, f"{worst['mean']:.3f} {worst['site']}", style="bold" if name == "federated" else "")
    console.print(table)
    console.print(f"Report: [bold]{report_path}[/]", soft_wrap=True, highlight=False)
    console.print(f"Anomaly maps: {folder / 'maps'}", soft_wrap=True, highlight=False)


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    low, high = figure["ci95"]
    return f"{figure['mean']:.3f}" + (f" [dim]({low:.3f}–{high:.3f})[/]" if low is not None else "")
