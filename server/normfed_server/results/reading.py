"""A run folder's JSON file as what was written to it, or the sentence that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from normfed_common.foundation.errors import DamagedError

T = TypeVar("T")


def read_as(kind: type[T], path: Path, cure: str) -> T:
    """Read a file that something of that kind was written to.

    Parameters
    ----------
    kind
        A model, or a type such as ``list[tuple[str, str]]``.
    cure
        What to do where that fails, a sentence.

    Raises
    ------
    DamagedError
        If it holds no such thing, or there is no such file.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        why = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    except OSError as error:
        why = str(error.strerror)
    raise DamagedError(f"{path} cannot be read ({why}). {cure}", why)
