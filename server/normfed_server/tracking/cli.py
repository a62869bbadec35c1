"""`normfed export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="A folder, or an MLflow server of yours.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder that TensorBoard shows.")] = None,
    wandb_offline: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder for Weights & Biases; nothing is sent.")
    ] = None,
    patients: Annotated[
        bool, typer.Option("--patients", help="Also tables and figures of single patients, of a simulated run.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="While the run goes on, round by round.")] = False,
) -> None:
    """Pass a run on to MLflow, TensorBoard or Weights & Biases: study, figures, tables, report and model."""
    from normfed_server.runs.folder import reopen
    from normfed_server.tracking import passing

    opened = reopen(run)
    asked = passing.asked_for(run.resolve().name, mlflow, tensorboard, wandb_offline)
    passing.check(opened, patients=patients, follow=follow)
    pass_on = passing.follow if follow else passing.pass_on
    try:
        with passing.Together(asked) as trackers:
            pass_on(opened, trackers, patients=patients)
    except KeyboardInterrupt:
        typer.echo("Stopped. What was told until now is there.", err=True)
        raise typer.Exit(130) from None
    for one in asked:
        typer.echo(one.place)
        typer.echo(f"Look at it: {one.look}", err=True)
