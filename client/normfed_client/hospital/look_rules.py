"""Whether somebody at the hospital must have looked at a cohort before anything is learnt from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from normfed_common.study.base import Frozen


class LookRules(Frozen):
    """Part of `site.yaml`; decides whether an answer leaves, and changes nothing in it."""

    quality_gate: Literal["required", "warn", "off"] = Field(
        "required",
        description="whether training and sums wait until `normfed site quality` looked at the cohort as it is now and "
        "everybody whom it lists was decided on: required, warn (in site.log), or off",
    )

    @field_validator("quality_gate", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        """YAML reads `off` without quotes as false."""
        return "off" if value is False else value
