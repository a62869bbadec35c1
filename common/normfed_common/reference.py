"""What a name of the reference means, for a terminal: a key or section of a study, a code of a site, a metric, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

from rich.console import Console

from normfed_common.algorithms.listing import strategies
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.cures import cures, guide
from normfed_common.foundation.errors import SiteCode
from normfed_common.metrics.catalogue import METRICS
from normfed_common.metrics.listing import metrics
from normfed_common.models.catalogue import MODELS
from normfed_common.models.listing import models
from normfed_common.study.config import StudyConfig
from normfed_common.study.reference import study_keys
from normfed_common.study.validation import elsewhere
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.listing import transforms
from normfed_common.wording.commands import as_typed
from normfed_common.wording.keys import SECTION, Key
from normfed_common.wording.machine import say
from normfed_common.wording.parameters import show, show_title
from normfed_common.wording.spelling import nearest

CLOSE = 0.75  # similarity of what may have been meant; short names of other letters are further apart
MOST_LIKE = 6  # that an error names
LISTS: Mapping[str, tuple[Iterable[str], Callable[[str | None, bool], None]]] = {
    "models": (MODELS, models),
    "strategies": (ALGORITHMS, strategies),
    "transforms": (TRANSFORMS, transforms),
    "metrics": (METRICS, metrics),
}
ENTRIES = {  # keys that name one of a list, by the command that shows it
    "model": "models",
    "strategy": "strategies",
    "transforms": "transforms",
    "comparisons.baselines": "models",
    "comparisons.strategies": "strategies",
    "data.dataset": "datasets",
    "data.split": "splits",
    "evaluation.metrics": "metrics",
}


def tell(name: str, as_json: bool) -> bool:
    """Print what a name means, as a person or a program reads it; False where it is none of the reference.

    The last word of a key is enough where no other key ends so and nothing else has that name.
    """
    keys, code = _keys(name), _code(name)
    listing = next((listing for names, listing in LISTS.values() if name in names), None)
    if keys:
        _tell_keys(keys, as_json)
    elif code is not None:
        _tell_code(code, as_json)
    elif listing is not None:
        listing(name, as_json)
    elif name in LISTS:
        LISTS[name][1](None, as_json)
    elif len(ends := [key.path for key in study_keys() if key.path.endswith(f".{name}")]) == 1:
        _tell_keys(_keys(ends[0]), as_json)
        if (others := [key for key in _with_word(name) if key not in ends]) and not as_json:
            Console(highlight=False).print(f"See also: {', '.join(others[:MOST_LIKE])}", markup=False)
    else:
        return False
    return True


def like(name: str) -> list[str]:
    """Names of the reference that may have been meant by one that is none; the key's last word is enough."""
    known = [*(key.path for key in study_keys()), *(code.name for code in SiteCode)]
    known += [entry for names, _ in LISTS.values() for entry in names]
    last = name.rpartition(".")[2]
    near = nearest(name, known, CLOSE)
    found = [*([near] if near else ()), *elsewhere(StudyConfig, last), *_with_word(last)]
    return list(dict.fromkeys(found))[:MOST_LIKE]


def _with_word(name: str) -> list[str]:
    """Keys whose last part has a word, one or several of it: `control_groups` of `controls`."""
    one = name.lower().removesuffix("s")
    return [
        key.path
        for key in study_keys()
        if one in {word.removesuffix("s") for word in key.path.rpartition(".")[2].split("_")}
    ]


def sections() -> list[str]:
    """The sections of a study."""
    return [key.path for key in study_keys() if key.type == SECTION and "." not in key.path]


def _keys(name: str) -> list[Key]:
    """The key of that name, before those within it."""
    return [key for key in study_keys() if key.path == name or key.path.startswith((f"{name}.", f"{name}[]."))]


def _code(name: str) -> SiteCode | None:
    return next((code for code in SiteCode if name.upper() in (str(int(code)), code.name)), None)


def _tell_keys(keys: list[Key], as_json: bool) -> None:
    if as_json:
        say("keys", [{"name": key.path, **asdict(key)} for key in keys])
        return
    console = Console(highlight=False)
    first, *within = keys
    show_title(console, first.path, first.description, "")
    show(console, _facts(first))
    if within:
        console.print()
        show(console, [(key.path, "\n".join(filter(None, (key.description, key.facts)))) for key in within])
    if first.path in ENTRIES:
        console.print(as_typed(f"What it can name: normfed {ENTRIES[first.path]}"))
    else:
        last = within[0] if within else first
        console.print(as_typed(f"Another value without another file: normfed simulate STUDY --set {last.path}=VALUE"))


def _facts(key: Key) -> list[tuple[str, str]]:
    rows = [("type", key.type), ("values", key.range), ("default", key.default), ("such as", key.example)]
    return [(name, text) for name, text in rows if text]


def _tell_code(code: SiteCode, as_json: bool) -> None:
    cure = cures(guide())[int(code)].plain
    if as_json:
        item = {"name": code.name, "code": int(code), "says": code.sentence}
        say("codes", [{**item, "means": cure.meaning, "remedy": cure.remedy}])
        return
    console = Console(highlight=False)
    console.print(f"[bold]{code.name}[/] ({int(code)}): {code.sentence}.")
    show(console, [("means", cure.meaning), ("what to do", cure.remedy)])
