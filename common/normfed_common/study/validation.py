"""Check what a person wrote against its model; every fault is one sentence that names the key."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from normfed_common.foundation.errors import StudyError

T = TypeVar("T", bound=BaseModel)


def validate(kind: type[T], raw: dict[str, Any], origin: str) -> T:
    """Check ``raw`` against a model, as JSON so that strict mode still takes lists for tuples."""
    try:
        return kind.model_validate_json(json.dumps(raw, allow_nan=True, default=str))
    except ValidationError as error:
        faults = "; ".join(_fault(item) for item in error.errors(include_url=False))
        raise StudyError(f"{origin}: {faults}.") from error


def _fault(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "the file"
    if item["type"] == "extra_forbidden":
        return f"{where} is not a key that a study knows"
    if item["type"] == "missing":
        return f"{where} is missing"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]} (got {str(item['input'])[:80]!r})"
