"""YAML as a person writes it, and nothing that a file can do to its reader: the only place where YAML is read.

No anchors and aliases (a few hundred bytes of them unfold to gigabytes), no tags, no merging, no key twice (which one
counts?), bounded in bytes, depth and values.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from normfed_common.foundation.errors import UserError

MAXIMUM_BYTES = 100_000
MAXIMUM_DEPTH = 20
MAXIMUM_VALUES = 50_000  # keys and values; PyYAML reads some 20,000 a second
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def read(path: Path, what: str, maximum_bytes: int = MAXIMUM_BYTES) -> dict[str, Any]:
    """The keys of a file and their values: text, numbers, true, false, null, dates, lists, mappings.

    Parameters
    ----------
    what
        The file should be, for its errors: "a study file".

    Raises
    ------
    UserError
        In one sentence that names the file, if it cannot be read, is too large, or is not plain YAML with keys.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(maximum_bytes + 1)
        if len(content) > maximum_bytes:
            raise UserError(f"{path}: larger than {maximum_bytes:,} bytes, so not {what}.")
        found = parse(content.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check its path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not YAML ({error}).") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no keys, so not {what}.")
    return found


def parse(content: str, origin: str) -> Any:
    """Any value: text, a number, true, false, null, a date, a list, a mapping.

    Parameters
    ----------
    origin
        Where it stands, for the error.

    Raises
    ------
    UserError
        In one sentence that begins with the origin, if it is not plain YAML.
    """
    try:
        return copy.deepcopy(_value(content))
    except yaml.YAMLError as error:
        raise UserError(f"{origin}: not YAML ({_sentence(error)}).") from error
    except ValueError as error:  # 2026-02-30, or a number of ten thousand digits
        raise UserError(f"{origin}: holds an invalid value ({_sentence(error)}).") from error


@lru_cache(maxsize=16)
def _value(content: str) -> Any:
    """Of the same text once per process: a site looks at its settings several times per request."""
    return _Plain(content).get_single_data()


def text(value: Any) -> str:
    """The same as `read` takes it: in the order given, without aliases."""
    return yaml.dump(value, Dumper=_Unfolded, allow_unicode=True, sort_keys=False)


def inline(value: Any) -> str:
    """The same on one line."""
    written: str = yaml.dump(
        value, Dumper=_Unfolded, allow_unicode=True, sort_keys=False, default_flow_style=True, width=float("inf")
    )
    return written.removesuffix("...\n").strip()


def with_value(content: str, key: str, value: str | int, origin: str) -> str:
    """A file's content with the value of one top-level key changed or added; everything else stays as it is.

    Raises
    ------
    UserError
        See `parse`.
    """
    scalar = json.dumps(value)  # which is YAML, too
    parse(content, origin)
    document = _Plain(content).get_single_node()
    nodes = document.value if isinstance(document, yaml.MappingNode) else []
    found = next((node for name, node in nodes if name.value == key), None)
    if found is None:
        return f"{content.rstrip()}\n{key}: {scalar}\n"
    return content[: found.start_mark.index] + scalar + content[found.end_mark.index :]


def with_item(content: str, key: str, item: str, origin: str) -> str:
    """A file's content with one more text in the list of a top-level key, which is made if need be; everything else
    stays as it is, comments in the list too.

    Raises
    ------
    UserError
        See `parse`; also if the key holds something else than a list.
    """
    scalar = json.dumps(item)
    parse(content, origin)
    document = _Plain(content).get_single_node()
    nodes = document.value if isinstance(document, yaml.MappingNode) else []
    found = next((node for name, node in nodes if name.value == key), None)
    if found is None:
        return f"{content.rstrip()}\n{key}: [{scalar}]\n"
    if not isinstance(found, yaml.SequenceNode):
        raise UserError(f"{origin}: {key} is no list. Write it as one: {key}: [{scalar}]")
    if found.flow_style:
        end = found.end_mark.index - 1  # before the bracket
        return content[:end] + (", " if found.value else "") + scalar + content[end:]
    first, last = found.value[0].start_mark.index, found.value[-1].end_mark.index
    line = content.rfind("\n", 0, first) + 1
    indent = content[line : content.index("-", line)]
    end = content.find("\n", last)
    before, after = (content, "") if end < 0 else (content[:end], content[end:])
    return f"{before}\n{indent}- {scalar}{after}"


def without_item(content: str, key: str, item: str, origin: str) -> str:
    """A file's content without a text in the list of a top-level key; everything else stays as it is.

    Raises
    ------
    UserError
        See `parse`; also if it is not in such a list.
    """
    parse(content, origin)
    document = _Plain(content).get_single_node()
    nodes = document.value if isinstance(document, yaml.MappingNode) else []
    name, found = next(((n, node) for n, node in nodes if n.value == key), (None, None))
    values = [node.value for node in found.value] if isinstance(found, yaml.SequenceNode) else []
    if name is None or found is None or item not in values:
        raise UserError(f"{origin}: {key} does not list {item}.")
    place = values.index(item)
    node = found.value[place]
    begin, end = node.start_mark.index, node.end_mark.index
    if len(values) == 1:
        end = found.end_mark.index if found.flow_style else end  # a list in lines ends with the next key
        return f"{content[: name.end_mark.index]}: []{content[end:]}"
    if not found.flow_style:
        line = content.rfind("\n", 0, begin) + 1
        after = content.find("\n", end)
        return content[:line] + ("" if after < 0 else content[after + 1 :])
    if place + 1 < len(values):
        return content[:begin] + content[found.value[place + 1].start_mark.index :]
    return content[: found.value[place - 1].end_mark.index] + content[end:]


class _Plain(yaml.SafeLoader):
    """PyYAML's safe loader without what a settings file has no use for."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor is not None:  # an alias has one too
            raise _refused("anchors and aliases (& and *) are not accepted; write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _refused("tags (!) are not accepted", event)
        self._depth += 1
        self._values += 1
        if self._depth > MAXIMUM_DEPTH:
            raise _refused(f"nested deeper than {MAXIMUM_DEPTH} levels", event)
        if self._values > MAXIMUM_VALUES:
            raise _refused(f"more than {MAXIMUM_VALUES:,} values", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        known = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                raise _refused("a key is a word or a number", key)
            if key.value in known:
                raise _refused(f"the key {key.value[:40]!r} appears twice", key)
            known.add(key.value)
            key.tag = _TEXT  # a site may be called 007, or no
        return super().construct_mapping(node, deep)


class _Unfolded(yaml.SafeDumper):
    """Writes what occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _refused(why: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=where.start_mark)


def _sentence(error: Exception) -> str:
    """On one line, without the `in "<unicode string>"` that PyYAML adds."""
    return re.sub(r'\s+in "<[a-z ]+>",', ",", " ".join(str(error).split()))[:300]
