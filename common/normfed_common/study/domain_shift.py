"""What a study of domain shift compares: how the scans of different scanners are made alike."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from normfed_common.study.base import Frozen, NamedEntry

NONE = "none"


def _listed(value: Any) -> Any:
    """``nyul`` is short for ``[nyul]``, ``none`` for an empty list."""
    if value == NONE:
        return ()
    if isinstance(value, str | dict):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Harmonization = Annotated[tuple[NamedEntry, ...], BeforeValidator(_listed), Field(max_length=8)]


class DomainShiftConfig(Frozen):
    """What `normfed study domain-shift` runs a study with; no other command looks at it."""

    harmonizations: tuple[Harmonization, ...] = Field(
        (),
        max_length=16,
        description="each a transform, or a list of them, done before the study's own `transforms`; `none` is always "
        "there; the usual ones when absent",
        examples=["[none, nyul, {name: fourier-amplitude, beta: 0.1}, [percentiles, combat]]"],
    )


NOTHING = DomainShiftConfig()
