"""Whether what is given to a function is of a type that it takes, said in one sentence that names the parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from numbers import Integral
from os import PathLike
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from normfed_common.foundation.errors import UserError
from normfed_common.study.config import StudyConfig
from normfed_simulation.watcher import Watcher

PLAIN: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    bool: "True, False",
    NoneType: "None",
    StudyConfig: "a resolved study",
    Watcher: "an object with begin, advance, warn and training",
}
LONGEST = 60  # letters of a value that is shown
GATHERED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check(function: Callable[..., Any], arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Refuse what is of another type than the function's annotations say; how many there are, Python checks.

    Raises
    ------
    UserError
        If something is.
    """
    signature = inspect.signature(function)
    try:
        given = signature.bind(*arguments, **named).arguments
    except TypeError:
        return
    hints = get_type_hints(function)
    for name, value in given.items():
        if signature.parameters[name].kind in GATHERED or name not in hints or takes(hints[name], value):
            continue
        raise UserError(f"{name}: takes {said(hints[name])}, not {_shown(value)}.")


def takes(kind: Any, value: Any) -> bool:
    """Whether a value is of a kind, as annotations have it; of a list and a mapping with all that is in it."""
    origin, of = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return True
    if origin in (Union, UnionType):
        return any(takes(each, value) for each in of)
    if origin is Literal:  # which values there are, the function says better
        return isinstance(value, tuple({type(each) for each in of}))
    if origin is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if origin is type:
        return isinstance(value, type)
    if origin is Sequence:  # a column of a data frame is none, and as good
        listed = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        return listed and (not isinstance(value, Sequence) or all(takes(of[0], each) for each in value))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(takes(of[0], k) and takes(of[1], v) for k, v in value.items())
    return isinstance(value, origin)


def said(kind: Any) -> str:
    """``a path, a list of such or None``."""
    kinds = list(dict.fromkeys(chain.from_iterable(map(_words, _alternatives(kind)))))
    if "a path" in kinds and "text" in kinds:  # a path as text
        kinds.remove("text")
    if "None" in kinds:
        kinds.remove("None")
        kinds.append("None")
    *others, last = kinds
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, UnionType):
        return list(chain.from_iterable(map(_alternatives, get_args(kind))))
    return [kind]


def _words(kind: Any) -> list[str]:
    origin, of = get_origin(kind) or kind, get_args(kind)
    if origin in PLAIN:
        return [PLAIN[origin]]
    if origin is Literal:
        return [repr(each) for each in of]
    if origin is PathLike:
        return ["a path"]
    if origin is type:
        return [f"a class, {of[0].__name__}" if of else "a class"]
    if origin is Sequence:
        return ["a list of such"]
    if origin is Mapping:
        return ["a mapping"]
    name = origin.__name__
    return [f"an {name}" if name[0] in "AEIO" else f"a {name}"]


def _shown(value: Any) -> str:
    """The value, or of what is long or no plain value, its type."""
    plain = value is None or isinstance(value, str | int | float | list | tuple | dict)
    shown = repr(value) if plain else ""
    return shown if shown and len(shown) <= LONGEST else f"a {type(value).__name__}"
