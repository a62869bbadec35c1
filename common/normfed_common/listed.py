"""What a sub-command says of itself in the list of all, read from its source: to import all of them takes a second."""

from __future__ import annotations

import re
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path

FUNCTION = r'^def {name}\(.*?\) -> [^\n]*:\n\s+"""(.*?)"""'
GROUP = r'^{name} = typer\.Typer\(\s*(?:[a-z_]+=[^"]*?,\s*)*help="((?:[^"\\]|\\.)*)"'


def help_of(reference: str) -> str | None:
    """The help of a command of ours, "module:attribute": a function's docstring, or the help of a group.

    Returns
    -------
    None where the source does not say it in one of these ways, or is not there.
    """
    module, _, name = reference.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    source = Path(spec.origin).read_text(encoding="utf-8")
    for pattern in (FUNCTION, GROUP):
        found = re.search(pattern.format(name=re.escape(name)), source, re.MULTILINE | re.DOTALL)
        if found:
            return cleandoc(found[1])
    return None
