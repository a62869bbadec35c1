"""What a listing prints with `--json`: one object, always of the same shape, and nothing else on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from normfed_common.wording.keys import keys_of

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object: {what, items: [...]}, and what else there is to say.")
]


def say(what: str, items: Iterable[Mapping[str, Any]], **more: Any) -> None:
    """Print ``{"what": ..., "items": [...], ...}``.

    Parameters
    ----------
    what
        Items these are, such as ``models``.
    items
        Each with at least a ``name``.
    more
        Beside them.
    """
    typer.echo(json.dumps({"what": what, "items": list(items), **more}, ensure_ascii=False, allow_nan=False))


def parameters_of(config: type[BaseModel]) -> list[dict[str, str]]:
    """Every parameter of a configuration: path, type, range, default, description, example."""
    return [asdict(key) for key in keys_of(config, sections=False)]
