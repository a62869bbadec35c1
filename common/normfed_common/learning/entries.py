"""Learners of a study: an entry names one in a registry, and gives its parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry

if TYPE_CHECKING:  # reading a study file must not load torch
    from normfed_common.learning.learner import Learner
    from normfed_common.learning.setting import Setting

L = TypeVar("L", bound="Learner")


def configure(
    registry: Registry[type[L]], entry: dict[str, Any], origin: str
) -> tuple[type[BaseModel], dict[str, Any]]:
    """Split an entry into its learner's configuration class and the values given for it.

    Raises
    ------
    StudyError
        If the entry has no name, or nothing is registered under it.
    """
    name = entry.get("name")
    if not isinstance(name, str):
        raise StudyError(f"{origin}: name is missing. Known {registry.kind}s: {', '.join(registry)}.")
    return registry[name].Config, {key: value for key, value in entry.items() if key != "name"}


def samples_per_person(registry: Registry[type[L]], entry: dict[str, Any]) -> int:
    """Upper bound on the samples that an epoch of a resolved entry's learner draws from each visit of a person."""
    return registry[entry["name"]].samples_per_person(config_of(registry, entry))


def build(registry: Registry[type[L]], entry: dict[str, Any], setting: Setting) -> L:
    """Make the learner of a resolved entry.

    Raises
    ------
    PluginError
        If it is not whole, see `Learner.validate`.
    """
    learner = registry[entry["name"]](config_of(registry, entry), setting)
    learner.validate()
    return learner


def config_of(registry: Registry[type[L]], entry: dict[str, Any]) -> BaseModel:
    """The configuration of a resolved entry."""
    kind, values = configure(registry, entry, registry.kind)
    return kind.model_validate_json(json.dumps(values))
