"""Read the files that a person at a machine writes: server.yaml, site.yaml, an enrolment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel

from normfed_common.errors import StudyError, UserError
from normfed_common.files import write_text
from normfed_common.study.load import validate

T = TypeVar("T", bound=BaseModel)

MAXIMUM_BYTES = 100_000


def read(path: Path, kind: type[T]) -> T:
    """A checked file.

    Raises
    ------
    UserError
        Naming the file, and the key that is wrong.
    """
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise UserError(f"{path}: larger than {MAXIMUM_BYTES:,} bytes, so not what it should be.")
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise UserError(f"{path}: holds no keys.")
        return validate(kind, raw, str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
    except StudyError as error:
        raise UserError(str(error).replace("a key that a study knows", "a key that this file knows")) from error


def write(path: Path, values: BaseModel) -> None:
    """Write such a file, with the description of every key that has one."""
    lines = []
    for name, field in type(values).model_fields.items():
        if field.description:
            lines.append(f"# {field.description}")
        value = values.model_dump(mode="json")[name]
        lines.append(yaml.safe_dump({name: value}, allow_unicode=True, sort_keys=False).rstrip())
    write_text(path, "\n".join(lines) + "\n")


def change(path: Path, kind: type[T], values: Mapping[str, str | int]) -> T:
    """Change single values of such a file; comments and everything else stay as they are.

    Returns
    -------
    The file as it is now.

    Raises
    ------
    UserError
        If the file is not what it should be, or would not be with the new values; then nothing is written.
    """
    read(path, kind)
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        scalar = value if isinstance(value, int) else json.dumps(value)
        document = yaml.compose(text, yaml.SafeLoader)
        nodes = document.value if isinstance(document, yaml.MappingNode) else []
        found = next((node for name, node in nodes if name.value == key), None)
        if found is None:
            text = f"{text.rstrip()}\n{key}: {scalar}\n"
        else:
            text = text[: found.start_mark.index] + str(scalar) + text[found.end_mark.index :]
    try:
        changed = validate(kind, yaml.safe_load(text), str(path))
    except (yaml.YAMLError, StudyError) as error:
        raise UserError(f"{error} Nothing was changed.") from error
    write_text(path, text)
    return changed
