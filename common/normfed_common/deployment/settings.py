"""Read the files that a person at a machine writes: server.yaml, site.yaml, an enrolment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.foundation.files import write_text
from normfed_common.study.validation import validate

T = TypeVar("T", bound=BaseModel)


def read(path: Path, kind: type[T]) -> T:
    """A checked file.

    Raises
    ------
    UserError
        Naming the file, and the key that is wrong.
    """
    raw = plain_yaml.read(path, "a settings file")
    try:
        return validate(kind, raw, str(path), "a key that this file knows")
    except StudyError as error:
        raise UserError(str(error)) from error


def read_in(folder: Path, name: str, kind: type[T], whose: str, make: str) -> T:
    """The checked file that makes a folder what it is.

    Parameters
    ----------
    whose
        Folder it is, such as "a site's folder".
    make
        The command that makes one; ``--home`` and the folder are added.

    Raises
    ------
    UserError
        If the folder has no such file, or it is wrong.
    """
    path = folder / name
    if not path.exists():
        raise UserError(f"{folder}: not {whose} (no {name}). Make one: {make} --home {folder}")
    return read(path, kind)


def write(path: Path, values: BaseModel) -> None:
    """Write such a file, with the description of every key that has one."""
    lines = []
    for name, field in type(values).model_fields.items():
        if field.description:
            lines.append(f"# {field.description}")
        value = values.model_dump(mode="json")[name]
        lines.append(plain_yaml.text({name: value}).rstrip())
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
        text = plain_yaml.with_value(text, key, value, str(path))
    return _written(path, kind, text)


def add(path: Path, kind: type[T], key: str, item: str) -> T:
    """Add a text to a list in such a file; comments and everything else stay as they are.

    Returns
    -------
    The file as it is now.

    Raises
    ------
    UserError
        As `change`.
    """
    read(path, kind)
    return _written(path, kind, plain_yaml.with_item(path.read_text(encoding="utf-8"), key, item, str(path)))


def remove(path: Path, kind: type[T], key: str, item: str) -> T:
    """Take a text out of a list in such a file; comments and everything else stay as they are.

    Returns
    -------
    The file as it is now.

    Raises
    ------
    UserError
        As `change`; also if it is not in the list.
    """
    read(path, kind)
    return _written(path, kind, plain_yaml.without_item(path.read_text(encoding="utf-8"), key, item, str(path)))


def _written(path: Path, kind: type[T], text: str) -> T:
    try:
        changed = validate(kind, plain_yaml.parse(text, str(path)), str(path))
    except UserError as error:
        raise UserError(f"{error} Nothing was changed.") from error
    write_text(path, text)
    return changed
