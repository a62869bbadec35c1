"""A study file as a person begins with: every key with its meaning, what it may be, and its default as a comment.

A line `# text` explains the next key; a line `#key: value` is a default, and counts once its `#` is taken away.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.plain_yaml import inline
from normfed_common.models.catalogue import MODELS
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import fields_of, model_at
from normfed_common.wording.keys import CHOICE, Key, keys_of

WIDTH = 110  # of comments
LISTED = {"model": "normfed models", "strategy": "normfed strategies", "transforms": "normfed transforms"}
HEAD = """\
# yaml-language-server: $schema={schema}
# A study of normfed, in one file. A line `# text` explains the next key; a line `#key: value` is a default: take its
# `#` away to change it. Editors that know YAML schemas complete keys and check values.
"""


def study_text(values: Mapping[str, Any], schema: str) -> str:
    """A study file with these values; every other key is there as a comment.

    Parameters
    ----------
    values
        As a study file has them; what is required must be there.
    schema
        The schema's file, as seen from the study's.
    """
    usual = {key: field.get_default(call_default_factory=True) for key, field in StudyConfig.model_fields.items()}
    named = {key: usual[key] for key in ("model", "strategy")} | dict(values)
    return HEAD.format(schema=schema) + "\n".join(_section(StudyConfig, named, "")) + "\n"


def _section(model: type[BaseModel], values: Mapping[str, Any], indent: str) -> Iterable[str]:
    keys = {key.path: key for key in keys_of(model) if "." not in key.path}
    for name, field in fields_of(model).items():
        within, value, key = model_at(field.annotation, ()), values.get(name), keys[name]
        if not indent:
            yield ""
        if within is not None:
            yield from _comment(f"{key.description}", indent)
            off = value is None and indent  # the study's own sections may be empty
            yield f"{indent}{'#' if off else ''}{name}:"
            yield from _section(within, value if isinstance(value, Mapping) else {}, indent + "  ")
        elif name in ("model", "strategy") and not indent:
            yield from _comment(f"{key.description}; all are listed by `{LISTED[name]}`", indent)
            yield from _entry(name, value)
        else:
            yield from _comment(_said(key, LISTED.get(name, "")), indent)
            yield from _within_list(field.annotation, indent)
            yield from _value(key, name in values, value, indent)


def _said(key: Key, listing: str) -> str:
    kind = f"one of {key.range}" if key.type == CHOICE else ", ".join(filter(None, (key.type, key.range)))
    such = f"; such as {key.example}" if key.example else ""
    listed = f"; all are listed by `{listing}`" if listing else ""
    return f"{key.description} ({kind}{such}{listed})"


def _comment(text: str, indent: str) -> Iterable[str]:
    lines = textwrap.wrap(text[0].upper() + text[1:], WIDTH - len(indent), break_long_words=False)
    return [f"{indent}# {line}" for line in lines]


def _within_list(annotation: Any, indent: str) -> Iterable[str]:
    """What the keys of a list's sections mean, where it is a list of them."""
    model = model_at(annotation, (0,))
    for key in keys_of(model) if model is not None else ():
        yield from _comment(f"  {key.path}: {key.description} ({key.facts})", indent)


def _value(key: Key, given: bool, value: Any, indent: str) -> Iterable[str]:
    name = key.path
    if not given:
        default = key.default if not key.example or key.default not in ("required", "may be left out") else key.example
        return [f"{indent}#{name}: {'null' if default == 'may be left out' else default}"]
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        return [f"{indent}{name}:", *(f"{indent}  - {inline(each)}" for each in value)]
    return [f"{indent}{name}: {inline(value)}"]


def _entry(name: str, value: Any) -> Iterable[str]:
    """A model or a strategy with the values given, and its other parameters as comments."""
    entry = {"name": value} if isinstance(value, str) else dict(value)
    chosen = entry["name"]
    config = MODELS[chosen].Config if name == "model" else ALGORITHMS[chosen].parameters
    yield f"{name}:"
    for own, given in entry.items():
        yield f"  {own}: {inline(given)}"
    for key in keys_of(config):
        if key.path not in entry and "." not in key.path:
            yield from _comment(_said(key, ""), "  ")
            yield from _value(key, False, None, "  ")
