"""An exception in one line, for whoever has to find what raised it."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

OURS = frozenset({"normfed_common", "normfed_client", "normfed_server", "normfed_simulation", "normfed_deploy"})
LIBRARIES = frozenset({"torch", "numpy", "scipy"}) | sys.stdlib_module_names


def text_of(error: BaseException) -> str:
    """What an exception says."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (a plug-in's own error may be broken)
        return f"{type(error).__name__}, which has no text"


def story(error: BaseException) -> str:
    """Its type, its text and, where a plug-in's code was running, the place in it:
    ``KeyError: 'patches'; tiny/model.py:41``."""
    place = _place(error)
    text = f"{type(error).__name__}: {text_of(error)}" + (f"; {place}" if place else "")
    return " ".join(text.split())


def _place(error: BaseException) -> str:
    """The innermost line of the package that ours called; empty where only ours and libraries were running."""
    walked = traceback.walk_tb(error.__traceback__)
    frames = [(str(frame.f_globals.get("__name__")), frame, line) for frame, line in walked]
    others = [entry for entry in frames if _package(entry[0]) not in OURS | LIBRARIES]
    if not others:
        return ""
    module, frame, line = next(entry for entry in reversed(others) if _package(entry[0]) == _package(others[0][0]))
    file = Path(frame.f_code.co_filename)
    depth = module.count(".") + (2 if file.name == "__init__.py" else 1)
    return f"{'/'.join(file.parts[-depth:])}:{line}"


def _package(module: str) -> str:
    return module.partition(".")[0]
