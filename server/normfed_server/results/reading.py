"""A run folder's JSON file as its model, or the sentence that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from normfed_common.foundation.errors import DamagedError
from normfed_common.study.base import Frozen

F = TypeVar("F", bound=Frozen)


def read_as(kind: type[F], path: Path, cure: str) -> F:
    """Read a file that a model of that kind was written to.

    Parameters
    ----------
    cure
        What to do where that fails, a sentence.

    Raises
    ------
    DamagedError
        If it holds no such model, or there is no such file.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        why = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    except OSError as error:
        why = str(error.strerror)
    raise DamagedError(f"{path} cannot be read ({why}). {cure}", why)
