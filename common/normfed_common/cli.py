"""The command ``normfed``. Its sub-commands are entry points, so that this package imports no other.

A sub-command is imported when it is used; in the list of all, ours are told by their source, and a plug-in's by its
name alone: its code runs when a person asks for it, and not before.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import click
import typer
from rich.console import Console
from typer.core import TyperGroup

from normfed_common.deployment.terminal import print_wrapped
from normfed_common.foundation.errors import NormfedError
from normfed_common.foundation.files import is_full
from normfed_common.foundation.quiet import QUIET_FLOWER
from normfed_common.foundation.registry import Registry
from normfed_common.listed import help_of
from normfed_common.wording.commands import as_typed, begin
from normfed_common.wording.terminal_text import plain

COMMANDS: Registry[typer.Typer | Callable[..., None]] = Registry(
    "command", "normfed.commands", instance_of="collections.abc:Callable"
)

# In the order of the work, for `normfed --help`; whatever is in none of them comes last.
PANELS: Mapping[str, tuple[str, ...]] = {
    "Scans": ("datasets", "inspect", "statistics", "preprocess", "cache"),
    "Studies on this machine": (
        "init",
        "simulate",
        "compare",
        "study",
        "reproduce",
        "report",
        "cite",
        "export",
        "score",
        "audit-privacy",
    ),
    "What a study can name": ("studies", "models", "strategies", "transforms", "splits", "metrics"),
    "Hospitals and their server": ("server", "site", "rehearse", "audit", "deploy"),
    "To read": ("docs",),
}
OTHERS = "Others"
LISTED = frozenset(name for names in PANELS.values() for name in names)


MARGIN = "       "  # as long as `Error: `
SENTENCE_END = re.compile(r"(?<=[.?!]) (?=[A-Z])")
COMMAND = re.compile(r"\bnormfed [a-z]")  # what is to be copied, in one line
CLOSED = (  # of a file or folder: a person can name another
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP),
    *(errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"normfed {version('normfed')}")
        raise typer.Exit


class InstalledCommands(TyperGroup):
    """The installed sub-commands by name, each imported when it is asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Names alone, for "Did you mean ...?"; `get_command` has the commands.
        there = list(COMMANDS)
        ordered = [name for names in PANELS.values() for name in names if name in there]
        self.commands = {name: click.Command(name) for name in dict.fromkeys([*ordered, *there])}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command, for the list of all; None where there is none of this name."""
        if cmd_name not in self.commands:
            return None
        found = _listed(cmd_name)
        panel = next((panel for panel, names in PANELS.items() if cmd_name in names), OTHERS)
        found.rich_help_panel = panel  # type: ignore[attr-defined]  # where typer's help looks for it
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The sub-command that is run, a plug-in's too."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _command(name), rest


def _listed(name: str) -> click.Command:
    """A sub-command as it stands in the list of all, without importing it if its source says what it is."""
    plugin = COMMANDS.origin(name)
    said = f"Of the plug-in {plugin}." if plugin is not None else help_of(COMMANDS.reference(name))
    return _command(name) if said is None else click.Command(name, help=said)


def _command(name: str) -> click.Command:
    found = COMMANDS[name]
    if isinstance(found, typer.Typer):
        command: click.Command = typer.main.get_group(found)
    else:
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        command = typer.main.get_command(single)
    command.name = name
    return command


def build() -> typer.Typer:
    """The command with all installed sub-commands."""
    app = typer.Typer(
        cls=InstalledCommands,
        name="normfed",
        help="Federated learning of normative brain models across hospitals that may not share scans.",
        no_args_is_help=True,
        suggest_commands=False,  # click does it already
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def _root(
        _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    ) -> None:
        """Federated learning of normative brain models across hospitals that may not share scans."""

    return app


def _tell(error: str) -> None:
    """On one line; on a narrower terminal each sentence on lines of its own, and one with a command is never broken."""
    console, first, sentences = Console(stderr=True, highlight=False), "[bold red]Error:[/] ", [error]
    if console.is_terminal and len(error) + len(MARGIN) > console.width and "\n" not in error:
        sentences = SENTENCE_END.split(error)
    for sentence in sentences:
        if len(sentences) == 1 or COMMAND.search(sentence):
            console.print(first + plain(sentence), soft_wrap=True)
        else:
            print_wrapped(console, sentence, MARGIN, first)
        first = MARGIN


def unread() -> None:
    """The reader of standard output went away (`| head`): what is still printed goes nowhere, without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run ``normfed``; errors of ours are one sentence and an exit code, never a traceback."""
    os.environ.update(QUIET_FLOWER)
    module = sys.modules["__main__"].__spec__
    begin(sys.argv, sys.orig_argv, None if module is None else module.name, LISTED)
    try:
        build()()
    except NormfedError as error:
        _tell(as_typed(str(error)))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        unread()
        sys.exit(0)
    except OSError as error:
        where = f" while writing {error.filename}" if error.filename else ""
        text = (
            f"the disk is full{where}. Free some space and give the command again; where it has --resume, what was "
            "finished is kept."
        )
        if error.errno == errno.EFBIG:
            text = f"a file would be larger than this session may write{where}. Raise the limit (ulimit -f), try again."
        elif not is_full(error):
            named = error.filename2 or error.filename  # of two what was to be made: files are written aside first
            if error.errno not in CLOSED or not named:
                raise
            text = f"{named}: cannot be used here ({error.strerror}). Give another, in a folder that you may write to."
        _tell(text)
        sys.exit(2)


if __name__ == "__main__":
    main()
