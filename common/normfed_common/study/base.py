"""The base of every file that a person writes: frozen, strict, no unknown keys, no NaN."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Frozen and strict; unknown keys, NaN and infinity are refused; a field's description is its documentation."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)
