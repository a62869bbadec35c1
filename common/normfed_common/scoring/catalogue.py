"""Every one-class score by the name that a study gives as `fit_on`. A new one is its file and one line here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry
from normfed_common.learning.setting import Setting
from normfed_common.study.validation import SENTENCE

if TYPE_CHECKING:
    from normfed_common.scoring.base import OneClassScore
    from normfed_common.study.base import Frozen

NAME, USUAL = "fit_on", "patient"

SCORERS: Registry[type[OneClassScore]] = Registry(
    "one-class score", "normfed.scorers", subclass_of="normfed_common.scoring.base:OneClassScore"
)

SCORERS.add("patient", "normfed_common.scoring.patient:PatientHead")
SCORERS.add("location", "normfed_common.scoring.location:LocationHead")
SCORERS.add("federated", "normfed_common.scoring.federated:FederatedHead")
SCORERS.add("combat", "normfed_common.models.harmonized_latents:HarmonizedHead")


def build_head(entry: dict[str, Any], dimension: int, setting: Setting) -> OneClassScore:
    """The one-class score of a study's entry, for latents of ``dimension``."""
    score, config = _configured(entry)
    return score(config, dimension, setting)


def _configured(entry: dict[str, Any]) -> tuple[type[OneClassScore], Frozen]:
    score, values = SCORERS.chosen({NAME: USUAL, **entry}, SCORERS.kind, NAME)
    return score, score.Config.model_validate_json(json.dumps(values))


def _resolved(entry: dict[str, Any]) -> dict[str, Any]:
    """The same entry with its name and the defaults of its score filled in."""
    name = entry.get(NAME, USUAL)
    try:
        return {NAME: name, **_configured(entry)[1].model_dump(mode="json")}
    except StudyError as error:
        fault = PydanticCustomError(SENTENCE, str(error).removeprefix(f"{SCORERS.kind}: "))
        detail = InitErrorDetails(type=fault, loc=(NAME,), input=name)
        raise ValidationError.from_exception_data("one_class", [detail]) from error


# What a study may say of a score: which, and that one's own parameters.
OneClassEntry = Annotated[dict[str, Any], AfterValidator(_resolved)]
