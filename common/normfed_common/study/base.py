"""The base of every file that a person writes: frozen, strict, no unknown keys, no NaN."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Frozen(BaseModel):
    """Frozen and strict; unknown keys, NaN and infinity are refused; a field's description is its documentation."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)


def _named(entry: Any) -> Any:
    """``ditto`` is short for ``{name: ditto}``."""
    return {"name": entry} if isinstance(entry, str) else entry


NamedEntry = Annotated[dict[str, Any], BeforeValidator(_named)]
