"""Values of a study that are given beside its file: ``federation.rounds=5`` on a command line, a mapping in Python."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import EXPONENT, elsewhere, fields_of, model_at
from normfed_common.wording.spelling import nearest

INDEX = re.compile(r"\[(\d+)\]")
SHORT = {"split": "by"}  # what one word is short for, where it is not a name


def parsed(texts: Iterable[str]) -> dict[str, Any]:
    """Changes as they are typed: ``["federation.rounds=5"]`` is ``{"federation.rounds": 5}``.

    Parameters
    ----------
    texts
        Each a key, an equals sign and a value in YAML; the last of one key counts.

    Raises
    ------
    StudyError
        If one has no equals sign or no key, or its value is no YAML.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise StudyError(f"--set {text}: a key, `=` and a value are expected, such as --set federation.rounds=5.")
        found.pop(key.strip(), None)  # the order is that of the last
        found[key.strip()] = _value(value, f"--set {text}")
    return found


def changed(study: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A study as its file has it, with other values; neither mapping is changed.

    Parameters
    ----------
    changes
        By key, one after the other. Dots lead into sections and entries, numbers from 0 into lists:
        ``data.phantom.sites.0.controls``, or ``sites[0]``. A mapping changes the keys that it has and leaves the others
        of its section as they are; one with a ``name`` replaces the entry before.

    Raises
    ------
    StudyError
        If a study has no such key, or a list no such entry. What the values may be is checked with the study.
    """
    found = copy.deepcopy(dict(study))
    for key, value in changes.items():
        words = tuple(INDEX.sub(r".\1", key).split("."))
        _check(words, key)
        _change(found, words, value, key)
    return found


def _value(text: str, origin: str) -> Any:
    if EXPONENT.fullmatch(text.strip()):
        return float(text)
    try:
        return plain_yaml.parse(text, origin)
    except UserError as error:
        raise StudyError(str(error)) from error


def _check(words: tuple[str, ...], key: str) -> None:
    """Refuse a key that no study has; what an entry's own parameters are is known to whoever reads the entry."""
    for depth, word in enumerate(words):
        section = model_at(StudyConfig, words[:depth])
        if section is None or word in fields_of(section):
            continue
        known = {name: ".".join((*words[:depth], name)) for name in fields_of(section)}
        guesses = [known[near]] if (near := nearest(word, known)) else elsewhere(StudyConfig, word)
        said = f"did you mean {' or '.join(guesses)}?" if guesses else f"known: {', '.join(known.values())}"
        raise StudyError(f"{key} is not a key that a study knows ({said}).")


def _change(found: dict[str, Any], words: tuple[str, ...], value: Any, key: str) -> None:
    here: Any = found
    for depth, word in enumerate(words[:-1]):
        place = _place(here, word, key)
        within = _opened(here[place] if isinstance(here, list) else here.get(place), words[: depth + 1])
        if not isinstance(within, dict | list):
            return  # no section, for the check of the study to name
        here[place] = within
        here = within
    place = _place(here, words[-1], key)
    if isinstance(value, Mapping) and "name" not in value:
        before = _opened(here[place] if isinstance(here, list) else here.get(place), words)
        if not isinstance(before, dict):
            return
        value = {**before, **value}
    here[place] = copy.deepcopy(value)


def _place(here: dict[str, Any] | list[Any], word: str, key: str) -> Any:
    if isinstance(here, dict):
        return word
    if not word.isdecimal() or int(word) >= len(here):
        last = f"0 to {len(here) - 1}" if here else "none: it is empty"
        raise StudyError(f"{key}: the list has no entry {word!r}; its entries are {last}. Or give the whole list.")
    return int(word)


def _opened(value: Any, words: tuple[str, ...]) -> Any:
    """What stands at a key, so that one of its own can be set: the default where there is nothing, a word or `true`
    written out."""
    if value is None:
        value = _default(words)
    section = model_at(StudyConfig, words) is not None
    if isinstance(value, str) and not section:
        return {SHORT.get(words[-1], "name"): value}
    return {} if value is True and section else value


def _default(words: tuple[str, ...]) -> Any:
    section = model_at(StudyConfig, words[:-1])
    field = fields_of(section).get(words[-1]) if section else None
    value = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return [copy.deepcopy(each) for each in value]
    return {} if value is None or isinstance(value, BaseModel) else copy.deepcopy(value)
