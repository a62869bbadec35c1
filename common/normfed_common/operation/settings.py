"""Read the files that a person at a machine writes: server.yaml, site.yaml, an enrolment."""

from __future__ import annotations

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
