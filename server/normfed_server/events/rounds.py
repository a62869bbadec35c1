"""What is known of one round of training: kept with the model, said as an event, told in metrics.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field

from normfed_common.foundation.files import without_nan
from normfed_common.study.base import Frozen


def is_none(value: object) -> bool:
    """For keys that are written only where there is something to say."""
    return value is None


class Megabytes(Frozen):
    """Sent to the sites and received from them."""

    out: float
    back: float


class Arrivals(Frozen):
    """A round on the virtual clock: seconds from its beginning until each site's answer, and until its end."""

    arrivals: dict[str, float]
    end: float


class RoundFigures(Frozen):
    """One round of one model."""

    round: int = Field(ge=1, description="counted from 1")
    loss: dict[str, float | None] = Field(description="mean training loss by site; null where a site says none")
    reference: float | None = Field(
        None, exclude_if=is_none, description="mean loss of principal components of the model's size, where it is known"
    )
    seconds: float = Field(ge=0, description="of the whole round, by the server's clock")
    outcomes: dict[str, str] = Field(description="what became of each site, such as took part, late, refused, absent")
    reasons: dict[str, str] = Field({}, description="why, for the sites that did not take part")
    share: float | None = Field(None, description="of the training people, how many are behind the next model")
    shares: dict[str, float] = Field({}, description="each used site's weight in the next model")
    update_norms: dict[str, float] = Field(
        {}, exclude_if=lambda of: not of, description="of each used update; of no site where none says a loss"
    )
    site_seconds: dict[str, float] = Field({}, description="of each site's training, by its own clock")
    megabytes: Megabytes
    clusters: dict[str, int] | None = Field(None, exclude_if=is_none, description="each site's cluster, if any")
    hospital_time: Arrivals | None = Field(None, exclude_if=is_none, description="in a simulation of hospital times")

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> Self:
        """An entry of an arm's history; a loss that is no number is None."""
        return cls.model_validate_json(json.dumps(without_nan(entry)))
