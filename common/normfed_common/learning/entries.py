"""Learners of a study: an entry names one in a registry, and gives its parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from normfed_common.foundation.errors import NormfedError, PluginError
from normfed_common.foundation.registry import Registry
from normfed_common.study.postprocessing import KEY, PostprocessingConfig
from normfed_common.wording.exceptions import story

if TYPE_CHECKING:  # reading a study file must not load torch
    from normfed_common.learning.learner import Learner
    from normfed_common.learning.setting import Setting

L = TypeVar("L", bound="Learner")


def samples_per_person(registry: Registry[type[L]], entry: dict[str, Any]) -> int:
    """Upper bound on the samples that an epoch of a resolved entry's learner draws from each visit of a person."""
    return registry[entry["name"]].samples_per_person(config_of(registry, entry))


def draws(registry: Registry[type[L]], entry: dict[str, Any]) -> bool:
    """Whether a resolved entry's learner draws anything (see `Learner.draws`)."""
    return registry[entry["name"]].draws(config_of(registry, entry))


def build(registry: Registry[type[L]], entry: dict[str, Any], setting: Setting) -> L:
    """Make the learner of a resolved entry.

    Raises
    ------
    PluginError
        If it is not whole (see `Learner.validate`), or a plug-in's raises what is no error of ours.
    """
    kind, config = registry[entry["name"]], config_of(registry, entry)
    try:
        lacking = sorted(getattr(kind, "__abstractmethods__", ()))
        if lacking:
            raise PluginError(f"{kind.__name__} cannot be used: it does not implement {', '.join(lacking)}.")
        learner = kind(config, setting)
        learner.validate()
    except PluginError as error:
        raise PluginError(f"{_named(registry, entry)}: {error}") from error
    except NormfedError:
        raise
    except Exception as error:
        if registry.origin(entry["name"]) is None:
            raise
        raise PluginError(f"{_named(registry, entry)}: {kind.__name__} cannot be made: {story(error)}") from error
    return learner


def _named(registry: Registry[type[L]], entry: dict[str, Any]) -> str:
    name, plugin = entry["name"], registry.origin(entry["name"])
    return f"The {registry.kind} {name!r}" + (f" of the plug-in {plugin}" if plugin else "")


def config_of(registry: Registry[type[L]], entry: dict[str, Any]) -> BaseModel:
    """The configuration of a resolved entry: its parameters, not what it says beside them."""
    learner, values = registry.chosen(entry, registry.kind)
    values.pop(KEY, None)
    return learner.Config.model_validate_json(json.dumps(values))


def postprocessing_of(entry: dict[str, Any], otherwise: PostprocessingConfig) -> PostprocessingConfig:
    """A model's entry's own, where it has one."""
    if KEY not in entry:
        return otherwise
    return PostprocessingConfig.model_validate_json(json.dumps(entry[KEY]))
