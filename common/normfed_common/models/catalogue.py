"""Every normative model by the name that a study uses. A new model is its file and one line here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry

if TYPE_CHECKING:
    from normfed_common.learning.setting import Setting
    from normfed_common.models.base import NormativeModel

# Modules are named, not imported: reading a study file must not load what it does not use.
MODELS: Registry[type[NormativeModel]] = Registry(
    "model", "normfed.models", subclass_of="normfed_common.models.base:NormativeModel"
)

MODELS.add("siamese", "normfed_common.models.siamese:Siamese")
MODELS.add("autoencoder", "normfed_common.models.autoencoder:AutoEncoder")
MODELS.add("intensity", "normfed_common.models.intensity:Intensity")
MODELS.add("atlas", "normfed_common.models.atlas:Atlas")


def configure(entry: dict[str, Any], origin: str) -> tuple[type[BaseModel], dict[str, Any]]:
    """Split a study's model entry into the model's configuration class and the values given for it."""
    name = entry.get("name")
    if not isinstance(name, str):
        raise StudyError(f"{origin}: name is missing. Known models: {', '.join(MODELS)}.")
    return MODELS[name].Config, {key: value for key, value in entry.items() if key != "name"}


def samples_per_person(entry: dict[str, Any]) -> int:
    """How many samples of one person an epoch of a resolved study entry's model draws at most."""
    config_type, values = configure(entry, "model")
    return MODELS[entry["name"]].samples_per_person(config_type.model_validate_json(json.dumps(values)))


def build(entry: dict[str, Any], setting: Setting) -> NormativeModel:
    """Make the model of a resolved study entry."""
    config_type, values = configure(entry, "model")
    return MODELS[entry["name"]](config_type.model_validate_json(json.dumps(values)), setting)
