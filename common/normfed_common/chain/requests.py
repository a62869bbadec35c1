"""A request as records have it, the same at the site and at the server."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from normfed_common.chain.kinds.shared import Asked, EntryName
from normfed_common.foundation import digests
from normfed_common.wire.requests import Request

UNKNOWN = Asked(task="unknown")  # what could not be read

_NAME: TypeAdapter[str] = TypeAdapter(EntryName)


def asked(request: Request) -> Asked:
    """What was asked."""
    return Asked(
        study=_study(request.study),
        run=request.run,
        task=request.task,
        arm=request.arm,
        model=_name(request.model),
        strategy=_name(request.strategy),
        turn=request.turn,
        repeat=request.repeat,
    )


@lru_cache(maxsize=16)
def _study(text: str) -> str:
    """The digest of a study, as `StudyConfig.digest`; of what is no study, of its text."""
    try:
        return digests.of_json(json.loads(text))
    except ValueError:
        return digests.of_json(text)


def _name(entry: dict[str, Any]) -> str:
    try:
        return _NAME.validate_python(entry.get("name", ""))
    except ValidationError:
        return ""
