"""Commands in what a person reads, as they typed the one that runs: ``.venv/bin/normfed``, say.

Sentences name commands as ``normfed simulate``, whoever reads them: they are kept in logs and records, and raised to
whoever calls from Python. Where one is printed, `as_typed` puts in the program that answers here.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "normfed"
ELSEWHERE = ("site", "server")  # run at a hospital, or by an operator: each names commands of the other's machine


@dataclass(frozen=True)
class Typed:
    """How a person began this process; by default from Python.

    Parameters
    ----------
    program
        What stands before the sub-command.
    commands
        Sub-commands that there are; none: nothing is put in.
    command
        The one that runs.
    """

    program: str = PROGRAM
    commands: frozenset[str] = frozenset()
    command: str = ""


_typed = Typed()


def begin(arguments: Sequence[str], interpreter: Sequence[str], module: str | None, commands: Collection[str]) -> None:
    """Remember how the process was begun, once, before anything is printed.

    Parameters
    ----------
    arguments
        ``sys.argv``.
    interpreter
        ``sys.orig_argv``.
    module
        That ``python -m`` runs; None of a script.
    commands
        The sub-commands that there are.
    """
    global _typed
    command = next((word for word in arguments[1:] if not word.startswith("-")), "")
    _typed = Typed(program(arguments[0], interpreter, module), frozenset(commands), command)


def program(script: str, interpreter: Sequence[str], module: str | None) -> str:
    """What a person types to run the program again: its name where the shell finds this very file by it."""
    if module is not None and "-m" in interpreter:
        return shlex.join([*interpreter[: interpreter.index("-m") + 1], module])
    path = Path(script)
    found = shutil.which(PROGRAM)
    if path.is_absolute() and found is not None and path.exists() and Path(found).samefile(path):
        return PROGRAM
    return shlex.quote(script) if path.name == PROGRAM else PROGRAM


def as_typed(text: str) -> str:
    """A sentence with the commands in it as the person types them; those of another machine stay as they are."""

    def put_in(found: re.Match[str]) -> str:
        word = found[1]
        if word not in _typed.commands or (word in ELSEWHERE and word != _typed.command):
            return found[0]
        return f"{_typed.program} {word}"

    return re.sub(r"(?<![\w./-])normfed ([a-z][a-z-]*)", put_in, text)
