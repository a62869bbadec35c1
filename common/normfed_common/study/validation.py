"""Check what a person wrote against its model; every fault is one sentence that names the key."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.plain_yaml import inline
from normfed_common.wording.spelling import meant, nearest

T = TypeVar("T", bound=BaseModel)
EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
SENTENCE = "sentence"  # the type of a fault whose message says all
EXPECTED = {  # for pydantic's "should be a valid array" and "should be an object", which are JSON's words, not YAML's
    "tuple_type": "a list is expected",
    "dict_type": "keys with values are expected",
    "model_type": "keys with values are expected",
    "int_type": "a whole number is expected",
    "float_type": "a number is expected",
    "bool_type": "true or false is expected",
    "string_type": "text is expected",
}
NAMES = "^[A-Za-z0-9][A-Za-z0-9._-]"  # how the patterns of names of studies and sites begin
IN_NAMES = "letters, digits, dots, hyphens and underscores are expected, and no spaces"


def validate(kind: type[T], raw: dict[str, Any], origin: str, what: str = "a key that a study knows") -> T:
    """Check ``raw`` against a model, as JSON so that strict mode still takes lists for tuples.

    Parameters
    ----------
    what
        What a key is not that the model does not have.

    Raises
    ------
    StudyError
        A fault after the other, each with its key, and what was probably meant.
    """
    try:
        return kind.model_validate_json(json.dumps(raw, allow_nan=True, default=str))
    except ValidationError as error:
        items = [item for item in error.errors(include_url=False) if not _follows(item)]
        faults = "; ".join(_fault(kind, item, what) for item in items)
        raise StudyError(f"{origin}: {faults}.") from error


def _follows(item: Any) -> bool:
    """Whether a fault is only what others leave behind: a list is too short once its wrong items are left out."""
    return item["type"] == "too_short" and len(item["input"]) > item["ctx"]["actual_length"]


def _fault(kind: type[BaseModel], item: Any, what: str) -> str:
    loc = item["loc"]
    where = ".".join(str(part) for part in loc)
    at = f"{where}: " if where else ""
    if item["type"] == "extra_forbidden":
        parent = model_at(kind, loc[:-1])
        if parent is None:
            return f"{where} is not a key that is known there"
        return f"{where} is not {what} ({_hint(str(loc[-1]), list(fields_of(parent)), elsewhere(kind, str(loc[-1])))})"
    if item["type"] == "missing":
        return f"{where} is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == SENTENCE:
        message = message.removesuffix(".")
        return f"{at}{message[0].lower()}{message[1:]}"
    if item["type"] in EXPECTED:
        message = EXPECTED[item["type"]] + _such_as(kind, loc)
    if str(item.get("ctx", {}).get("pattern", "")).startswith(NAMES):
        message = IN_NAMES
    found = item["input"]
    if item["type"] == "value_error" and isinstance(found, dict):  # the message names those of its keys that are meant
        return f"{at}{message[0].lower()}{message[1:]}"
    number = f", which YAML takes for text: write {inline(float(found))}" if _is_number(found) else ""
    return f"{at}{message[0].lower()}{message[1:]} (got {str(found)[:80]!r}{number})"


def _is_number(found: Any) -> bool:
    """Whether a person meant a number, and YAML 1.1, which wants 1.0e-3, read a text."""
    return isinstance(found, str) and EXPONENT.fullmatch(found) is not None


def _hint(key: str, known: list[str], elsewhere: list[str]) -> str:
    if key.partition(":")[0] in known:
        return "a space is missing after the colon"
    near = meant(key, known)
    if near:
        return f"{near[0].lower()}{near[1:]}"
    return f"did you mean {' or '.join(elsewhere)}?" if elsewhere else f"known: {', '.join(known) or 'none'}"


def elsewhere(kind: type[BaseModel], key: str) -> list[str]:
    """Keys anywhere in a model whose last word this is, or nearly."""
    by_last: dict[str, list[str]] = {}
    for path in paths(kind):
        by_last.setdefault(path.rpartition(".")[2], []).append(path)
    return by_last.get(nearest(key, by_last) or "", [])


def _such_as(kind: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    parent = model_at(kind, loc[:-1])
    field = fields_of(parent).get(str(loc[-1])) if parent else None
    return f", such as {field.examples[0]}" if field and field.examples else ""


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """By the key that a person writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_at(annotation: Any, loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that stands at a place within a type; None where there is another thing."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            return annotation
        field = fields_of(annotation).get(str(loc[0]))
        return model_at(field.annotation, loc[1:]) if field else None
    if get_origin(annotation) in (tuple, list, dict):
        if not loc:
            return None
        loc = loc[1:]
    return next((found for inner in get_args(annotation) if (found := model_at(inner, loc))), None)


def paths(model: type[BaseModel], before: str = "") -> list[str]:
    """Every key that a person can write, with dots between a section and its keys; within lists there are numbers, and
    nothing is listed."""
    found = []
    for key, field in fields_of(model).items():
        found.append(before + key)
        within = model_at(field.annotation, ())
        if within is not None:
            found += paths(within, f"{before}{key}.")
    return found
