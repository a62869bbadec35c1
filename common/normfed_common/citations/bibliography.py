"""The entries of methods.bib by their keys, which every registered method names as ``cited``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from importlib.metadata import version
from types import MappingProxyType

OURS = "normfed"  # of what was first published here
ELEMENTARY = "elementary"  # of what nobody cites anybody for
FILE, VERSION = "methods.bib", "@VERSION@"
PLACES = {"doi": "doi ", "eprint": "arXiv ", "journal": "", "booktitle": "", "title": ""}  # the first that there is
BRACES = str.maketrans("", "", "{}")
ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303"}  # combining, by LaTeX's sign
_ACCENT = re.compile(rf"\{{\\([{''.join(ACCENTS)}])(\w)\}}")
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", re.MULTILINE)
_ENTRY = re.compile(r"^@\w+\{([^,\s]+),\n.*?^\}$", re.MULTILINE | re.DOTALL)


@cache
def entries() -> Mapping[str, str]:
    """BibTeX by key, in the order of the file."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8").replace(VERSION, version(OURS))
    return MappingProxyType({found[1]: found[0] for found in _ENTRY.finditer(text)})


def key_of(cited: str) -> str:
    """The key of what a method names: itself, or that of the whole BibTeX entry that a plug-in brings."""
    if not cited.startswith("@"):
        return cited
    found = _ENTRY.fullmatch(cited.strip())
    if found is None:
        raise ValueError(f"{cited[:60]!r} is no BibTeX entry: it begins with @kind{{key, and ends with a line of }}")
    return found[1]


def references(cited: Iterable[str]) -> str:
    """What a method names in a few words each, ``Dice 1945, doi 10.2307/1932409``; empty where all is ours or
    elementary. A key of nobody's stands as it is: a list is no place to stop at a plug-in's slip."""
    return "; ".join(_reference(each) for each in cited if each not in (OURS, ELEMENTARY))


def _reference(cited: str) -> str:
    entry = cited if cited.startswith("@") else entries().get(cited)
    if entry is None:
        return cited
    fields = {key.lower(): _ACCENT.sub(_accented, value) for key, value in _FIELD.findall(entry)}
    family = [author.split(",")[0].strip("{} ") for author in fields.get("author", "").split(" and ")]
    who = " & ".join(family) if len(family) < 3 else f"{family[0]} et al."
    where = next((name + fields[key].translate(BRACES) for key, name in PLACES.items() if key in fields), "")
    return ", ".join(filter(None, (f"{who} {fields.get('year', '')}".strip(), where)))


def _accented(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", found[2] + ACCENTS[found[1]])


def bibtex(cited: Iterable[str]) -> str:
    """Entries, each once: ours in the order of the file, then those that plug-ins bring.

    Parameters
    ----------
    cited
        What methods name as ``cited``.

    Raises
    ------
    KeyError
        If ours has no such key.
    """
    named = [name for name in dict.fromkeys(cited) if name != ELEMENTARY]
    brought = {key_of(name): name.strip() for name in named if name.startswith("@")}
    known = entries()
    missing = [name for name in named if not name.startswith("@") and name not in known]
    if missing:
        raise KeyError(f"{FILE} has no {', '.join(missing)}")
    ours = [text for key, text in known.items() if key in named and key not in brought]
    return "\n\n".join([*ours, *brought.values()]) + "\n" if named else ""
