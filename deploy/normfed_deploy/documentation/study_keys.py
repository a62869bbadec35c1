"""Every key of a study, from the models that read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from normfed_common.study.config import StudyConfig
from normfed_common.wording.parameters import parameters
from normfed_deploy.documentation.markdown import anchored, code, prose, table

HEAD = ("key", "values", "default", "meaning")


class Key(NamedTuple):
    """A key of a study by its whole path; `[]` stands for an entry of a list, `*` for a name of one's own."""

    path: str
    values: str
    default: str
    meaning: str


def keys(model: type[BaseModel] = StudyConfig, prefix: str = "") -> Iterator[Key]:
    """Every key, and after each those within it."""
    own = {name: text for name, text in parameters(model) if "." not in name}
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        within = list(_models(field.annotation, ""))
        meaning, _, facts = own.get(field.alias or name, "").rpartition("\n")
        values, _, default = facts.rpartition("; ")
        if not facts:
            meaning, values, default = field.description or _first(within[0][0]), "keys below", "may be left out"
        yield Key(path, "keys below" if within else values, default.removeprefix("default "), meaning)
        for inner, marks in within:
            yield from keys(inner, f"{path}{marks}.")


def tables() -> str:
    """A section for each part of a study, with the keys in it."""
    found: dict[str, list[Key]] = {"": []}
    for key in keys():
        part = key.path.partition(".")[0]
        part = part if part != key.path else "" if key.values != "keys below" else part
        found.setdefault(part, []).append(key)
    text = [_table(found.pop(""))]
    for part, rows in found.items():
        text += [f"\n## {part}\n", f"{prose(rows[0].meaning).rstrip('.')}.\n", _table(rows[1:])]
    return "\n".join(text)


def _table(rows: list[Key]) -> str:
    return table(HEAD, ([anchored(k.path), prose(k.values), code(k.default), prose(k.meaning)] for k in rows))


def _models(annotation: Any, marks: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Models of keys within a type, each with how one comes to them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, marks
        return
    is_list = getattr(annotation, "__origin__", None) in (list, tuple)
    for inner in get_args(annotation):
        yield from _models(inner, f"{marks}[]" if is_list else marks)


def _first(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n\n")[0]
