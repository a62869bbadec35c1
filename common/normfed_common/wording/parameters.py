"""Named things and their parameters as a person reads them on a terminal: type, bounds, default, what they mean."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = tuple[str, str]

INDENT = 2
ELSEWHERE = "See the module."  # how a docstring begins that leaves the words to its module's


def show(console: Console, rows: Iterable[Row], width: int = 0) -> None:
    """Print names and what is said of each, in a column of its own.

    Parameters
    ----------
    rows
        Names, each with its text.
    width
        Least width of names, in characters, so that several tables are aligned.
    """
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
    table.add_column(min_width=INDENT + width, style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row(Text(" " * INDENT + name), Text(text))
    console.print(table)


def show_title(console: Console, name: str, title: str, source: str) -> None:
    """Print what one of them is, and below it where it was published, where anything is said of that."""
    console.print(Text.assemble((name, "bold"), f": {title.rstrip('.')}. {source}".rstrip()))


def summary(kind: type) -> str:
    """The first paragraph of a class's docstring, or of its module's where that is where the words are."""
    own = (kind.__doc__ or ELSEWHERE).strip()
    text = (sys.modules[kind.__module__].__doc__ or own) if own.startswith(ELSEWHERE) else own
    return " ".join(text.strip().split("\n\n")[0].split())


def parameters(config: type[BaseModel]) -> list[Row]:
    """Every parameter of a configuration, and of those within it, by the name that a study writes: what it means, and
    below that its type, bounds and default, such as ``number, 0 to 20; default 2``."""
    return _rows(config, config.model_json_schema(), "")


def defaults(config: type[BaseModel]) -> str:
    """Every parameter with its default, on one line: ``momentum: default 0.9, clusters: required``."""
    return ", ".join(f"{field.alias or key}: {_default(field)}" for key, field in config.model_fields.items())


def _rows(config: type[BaseModel], schema: dict[str, Any], prefix: str) -> list[Row]:
    rows = []
    for key, field in config.model_fields.items():
        name = field.alias or key
        within = field.annotation
        if isinstance(within, type) and issubclass(within, BaseModel):
            rows += _rows(within, within.model_json_schema(), f"{prefix}{name}.")
            continue
        facts = f"{_kind(schema['properties'][name])}; {_default(field)}"
        rows.append((f"{prefix}{name}", "\n".join(filter(None, (field.description, facts)))))
    return rows


def _default(field: FieldInfo) -> str:
    """What holds where a study says nothing."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "may be left out" if value is None else f"default {_value(value)}"


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in schema:
        return ", or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " | ".join(_value(value) for value in schema["enum"])
    if "const" in schema:
        return _value(schema["const"])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(map(_kind, schema['prefixItems']))}]"
        case "array":
            return f"list of {_bounded(_kind(schema['items']), schema, 'Items', ' of them')}"
        case "object":
            of = schema.get("additionalProperties")
            return f"{{name: {_kind(of)}}}" if isinstance(of, dict) else "{name: value}"
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
        return f"{what}, {_value(low)} to {_value(high)}{unit}"
    bounds = {
        "above": schema.get("exclusiveMinimum"),
        "at least": low,
        "below": schema.get("exclusiveMaximum"),
        "at most": high,
    }
    said = [f"{words} {_value(bound)}{unit}" for words, bound in bounds.items() if bound is not None]
    return f"{what}, {' and '.join(said)}" if said else what


def _value(value: Any) -> str:
    """As a study file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
