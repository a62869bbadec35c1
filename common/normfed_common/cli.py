"""The command ``normfed``. Its sub-commands are entry points, so that this package imports no other."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version

import typer
from rich.console import Console

from normfed_common.errors import NormfedError
from normfed_common.files import is_full

# Flower reports usage to its makers and looks for updates unless told otherwise before it is imported.
QUIET_FLOWER = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"normfed {version('normfed')}")
        raise typer.Exit


def build() -> typer.Typer:
    """The command with all installed sub-commands."""
    app = typer.Typer(
        name="normfed",
        help="Federated learning of normative brain models across hospitals that may not share scans.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def _root(
        _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    ) -> None:
        """Federated learning of normative brain models across hospitals that may not share scans."""

    for entry in sorted(entry_points(group="normfed.commands"), key=lambda entry: entry.name):
        loaded = entry.load()
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=entry.name)
        else:
            app.command(entry.name)(loaded)
    return app


def main() -> None:
    """Run ``normfed``; errors of ours are one sentence and an exit code, never a traceback."""
    os.environ.update(QUIET_FLOWER)
    try:
        build()()
    except NormfedError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]Error:[/] {_plain(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`): not an error of anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if not is_full(error):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        text = f"the disk is full{where}. Free some space; what was finished is kept: normfed simulate --resume RUN."
        Console(stderr=True, highlight=False).print(f"[bold red]Error:[/] {_plain(text)}", soft_wrap=True)
        sys.exit(2)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
