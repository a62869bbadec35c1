"""Sentences for whoever calls from Python: what they would type on a command line is what they write in a call.

Sentences name options and commands, whoever reads them: see `normfed_common.wording.commands`. `spoken_in_python` is
put around the functions that people call: it checks the types of arguments; what a person can fix leaves them without
the frames inside, unless NORMFED_TRACEBACK is set, and errors of ours leave these with `--site` as ``site=``, where the
function has such a parameter, and `normfed simulate --resume RUN` as ``normfed.resume('RUN')``.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection
from functools import wraps
from typing import ParamSpec, TypeVar

from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import TRACEBACK_VARIABLE, NormfedError, UserError
from normfed_simulation.api.arguments import check

P = ParamSpec("P")
R = TypeVar("R")

NAMED = {
    "attack": "attacks",
    "brain-mask": "brain_masks",
}  # option to parameter; of all others dashes differ
BY_MODALITY = "--t1w, --flair, ..."
CHANGES = "changes"  # the parameter that takes values of a study by key, `**{"seed": 3}`
RESUME = re.compile(r"normfed simulate --resume (?:'([^']+)'|(\S+?))(?=[.,;]?(?:\s|$))")  # as a shell needs it
SET = re.compile(r"--set '([\w.]+)=([^']+)'")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?: (?=[A-Z0-9])| ([a-z]+)(?=[.,:;)]))?")
WITHIN_A_COMMAND = re.compile(r"normfed [a-z](?:(?![.,;] ).)*$")


def as_called(text: str, parameters: Collection[str]) -> str:
    """A sentence with options as parameters; those of commands, and those that are no parameter, stay as they are.

    Parameters
    ----------
    parameters
        Of the function that is called.
    """
    text = RESUME.sub(lambda found: f"normfed.resume({(found[1] or found[2])!r})", text)
    if CHANGES in parameters:
        text = SET.sub(lambda found: f"**{{{found[1]!r}: {plain_yaml.parse(found[2], found[1])!r}}}", text)
    if "modalities" in parameters:
        text = text.replace(BY_MODALITY, "modalities=")

    def put_in(found: re.Match[str]) -> str:
        name = NAMED.get(found[1], found[1].replace("-", "_"))
        if name not in parameters or WITHIN_A_COMMAND.search(text[: found.start()]):
            return found[0]
        return f"{name}={found[2]!r}" if found[2] else f"{name}="

    return OPTION.sub(put_in, text)


def spoken_in_python(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which refuses arguments of a wrong type, and whose errors of ours name its parameters."""
    parameters = frozenset(inspect.signature(function).parameters)

    @wraps(function)
    def called(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            check(function, arguments, named)
            return function(*arguments, **named)
        except NormfedError as error:
            if error.args and isinstance(error.args[0], str):
                error.args = (as_called(error.args[0], parameters), *error.args[1:])
            if os.environ.get(TRACEBACK_VARIABLE) or not isinstance(error, UserError):
                raise
            raised = error.with_traceback(None)  # where we noticed it says nothing to whoever can fix it
        raise raised from None

    return called
