"""Which strategies protect people: whatever else sites say of theirs, no noise covers."""

from __future__ import annotations

from typing import Any

from normfed_common.algorithms.table import configure
from normfed_common.foundation.errors import StudyError
from normfed_common.study.federation import FederationConfig
from normfed_common.study.privacy import PrivacyConfig

WITHOUT = "or leave privacy.epsilon out"


def check_strategy(strategy: dict[str, Any], federation: FederationConfig, privacy: PrivacyConfig, origin: str) -> None:
    """Refuse a strategy whose answers tell of people what no noise covers.

    Parameters
    ----------
    origin
        Of the study, for the error.

    Raises
    ------
    StudyError
        If sites say losses or choices of their people, or gradients would be scaled before they are clipped.
    """
    if privacy.epsilon is None:
        return
    row, _ = configure(strategy)
    told = {
        "the loss of the model that they received": row.needs_received_loss,
        "which of several models fits their people best": row.offers_every_cluster,
    }
    for what, needed in told.items():
        if needed:
            raise StudyError(
                f"{origin}: strategy {strategy['name']}: sites say {what}, which privacy.epsilon does not cover. Take "
                f"another strategy, {WITHOUT}."
            )
    if federation.precision == "fp16":
        raise StudyError(
            f"{origin}: federation.precision: with privacy.epsilon a person's gradients that overflow in fp16 would "
            f"count as none. Write bf16 or float32, {WITHOUT}."
        )
