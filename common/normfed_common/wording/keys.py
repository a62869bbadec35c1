"""Every key that a person can write in a file, from its model: type, range, default and meaning, as words."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Key:
    """A key of a file.

    Parameters
    ----------
    path
        With dots between sections; ``[]`` stands for a number in a list: ``data.phantom.sites[].controls``.
    type
        Such as ``whole number``, ``list of text``; ``section`` of one that has keys of its own.
    range
        Such as ``1 to 100000`` or ``adam | sgd``; empty where anything of the type will do.
    default
        As a file has it, ``required`` where there is none, ``may be left out`` where leaving out means something else.
    description
        What it means.
    example
        As a file has it; empty where none is needed.
    """

    path: str
    type: str
    range: str
    default: str
    description: str
    example: str = ""

    @property
    def facts(self) -> str:
        """``whole number, 1 to 100; default 20``."""
        kind = self.range if self.type == CHOICE else ", ".join(filter(None, (self.type, self.range)))
        default = self.default if self.default in (REQUIRED, OPTIONAL, OF_KEYS) else f"default {self.default}"
        return f"{kind}; {default}"


SECTION, CHOICE = "section", "choice"
REQUIRED, OPTIONAL, OF_KEYS = "required", "may be left out", "those of its keys"


def keys_of(model: type[BaseModel], before: str = "", sections: bool = True) -> list[Key]:
    """Every key of a model, and of those within it.

    Parameters
    ----------
    before
        The path of the model itself, with a dot behind it.
    sections
        Whether sections have a row of their own before those of their keys.
    """
    found: list[Key] = []
    properties = model.model_json_schema()["properties"] if model.model_fields else {}
    for key, field in model.model_fields.items():
        path = before + (field.alias or key)
        within, number = _within(field.annotation)
        kind, allowed = _split(properties[field.alias or key])
        if within is None or sections:
            said = field.description or (_about(within) if within else "")
            example = str(field.examples[0]) if field.examples else ""
            shown = (SECTION if not number else "list of sections", "") if within else (kind, allowed)
            found.append(Key(path, *shown, default_of(field), said, example))
        if within is not None:
            found += keys_of(within, f"{path}{number}.", sections)
    return found


def _about(model: type[BaseModel]) -> str:
    """The first sentence of a model's docstring."""
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _within(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model whose keys stand below a key, and what leads to it: nothing, or a number in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, inner = get_origin(annotation), [one for one in get_args(annotation) if one is not NoneType]
    if origin is dict or not inner:
        return None, ""
    model, number = _within(inner[0])
    return model, ("[]" if origin in (tuple, list) else "") + number


def _split(schema: dict[str, Any]) -> tuple[str, str]:
    """A JSON schema in words: the type, and what of the type is allowed."""
    given = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(given) == 1:
        return _split(given[0])
    if "enum" in schema or "const" in schema:
        return CHOICE, kind_of(schema)
    if schema.get("type") in ("number", "integer"):
        kind, _, allowed = kind_of(schema).partition(", ")
        return kind, allowed
    return kind_of(schema), ""


def default_of(field: FieldInfo) -> str:
    """What holds where a study says nothing."""
    if field.is_required():
        return REQUIRED
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return OF_KEYS
    return OPTIONAL if value is None else value_of(value)


def kind_of(schema: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in schema:
        return ", or ".join(kind_of(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " | ".join(value_of(value) for value in schema["enum"])
    if "const" in schema:
        return value_of(schema["const"])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(map(kind_of, schema['prefixItems']))}]"
        case "array":
            return f"list of {_bounded(kind_of(schema['items']), schema, 'Items', ' of them')}"
        case "object":
            of = schema.get("additionalProperties")
            return f"{{name: {kind_of(of)}}}" if isinstance(of, dict) else "{name: value}"
        case "number" | "integer" as numeric:
            return _bounded("number" if numeric == "number" else "whole number", schema, "imum", "")
        case "boolean":
            return "true | false"
        case _:
            return "text"


def _bounded(what: str, schema: dict[str, Any], noun: str, unit: str) -> str:
    """The same with its bounds: ``number, above 0 and at most 20``."""
    low, high = schema.get(f"min{noun}"), schema.get(f"max{noun}")
    if low is not None and high is not None:
        return f"{what}, {value_of(low)} to {value_of(high)}{unit}"
    bounds = {
        "above": schema.get("exclusiveMinimum"),
        "at least": low,
        "below": schema.get("exclusiveMaximum"),
        "at most": high,
    }
    said = [f"{words} {value_of(bound)}{unit}" for words, bound in bounds.items() if bound is not None]
    return f"{what}, {' and '.join(said)}" if said else what


def value_of(value: Any) -> str:
    """As a study file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        text = f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
        return text if "e" not in text or "." in text else text.replace("e", ".0e")  # YAML 1.1 takes 1e-05 for text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value_of(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(value_of, value)) + "]"
    return str(value) or '""'
