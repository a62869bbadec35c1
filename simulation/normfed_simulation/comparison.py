"""What a comparison changes in a study: which strategies stand beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from normfed_common.algorithms.arms import OWN, POOLED
from normfed_common.algorithms.sharing import can_serve
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.study.config import StudyConfig

ANCHORS = (OWN, POOLED)
EVERYTHING = "all"
Entry = str | Mapping[str, Any]  # a strategy by its name, or with parameters: {"name": "ditto", "lambda": 0.5}
# One of each kind, after Manthe 2024; those that need no knowledge of the sites.
USUAL = ("fedavg", "fedprox", "fedadam", "scaffold", "qfedavg", "fedbn", "fedper", "ditto", "fine-tuning")


def changes(
    study: StudyConfig,
    strategies: Sequence[Entry] | None,
    compressions: Sequence[str] | None,
    repeats: int | None = None,
) -> dict[str, Any]:
    """Values for `load_study`.

    Parameters
    ----------
    strategies
        The first that is not an anchor becomes the study's own. ``all``: every one that needs no parameter or has its
        parameters in the study, and both anchors. None: those of the study; the usual ones where it names none. Neither
        holds one that the study's model cannot be trained by, such as fedbn without normalisation layers, unless the
        study names it.
    """
    changed: dict[str, Any] = {}
    comparisons: dict[str, Any] = {}
    if strategies is None and compressions is None and not study.comparisons.strategies:
        strategies = [study.strategy["name"], *_others(study), *ANCHORS]
    if strategies is not None:
        known = {entry["name"]: entry for entry in (*study.comparisons.strategies, study.strategy)}
        given = {entry["name"]: dict(entry) for entry in strategies if not isinstance(entry, str)}
        names = [entry if isinstance(entry, str) else entry["name"] for entry in strategies]
        if EVERYTHING in names:
            rest = [name for name in ALGORITHMS if name not in names and (name in known or _fits(study, name))]
            own = [study.strategy["name"]] if study.strategy["name"] in rest else []
            rest = own + [name for name in rest if name not in own]
            at = names.index(EVERYTHING)
            names = [*names[:at], *rest, *names[at + 1 :], *ANCHORS]
        known |= given
        chosen = [known.get(name, name) for name in names if name not in ANCHORS]
        if chosen:
            changed["strategy"] = chosen[0]
        comparisons = {anchor: anchor in names for anchor in ANCHORS} | {"strategies": chosen[1:]}
    if repeats is not None:
        comparisons["repeats"] = repeats
    if compressions is not None:
        comparisons["compressions"] = list(compressions)
    return changed | ({"comparisons": comparisons} if comparisons else {})


def listed(text: str) -> list[Entry]:
    """Names and entries with commas, as in a YAML list.

    Raises
    ------
    StudyError
        If it is not a list of them.
    """
    origin = f"--strategies {text}"
    try:
        found = plain_yaml.parse(f"[{text}]", f"{origin}: not a list of names")
    except UserError as error:
        raise StudyError(str(error)) from error
    return checked(found, origin)


def checked(entries: Sequence[Any], origin: str) -> list[Entry]:
    """The same entries.

    Raises
    ------
    StudyError
        If one is neither a name nor has one.
    """
    for entry in entries:
        if not (isinstance(entry, str) or (isinstance(entry, Mapping) and isinstance(entry.get("name"), str))):
            raise StudyError(f"{origin}: {entry} is neither a name nor an entry with a name.")
    return list(entries)


def names(text: str) -> list[str]:
    """Names with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def one(text: str) -> Entry:
    """A single name or entry.

    Raises
    ------
    StudyError
        If it is something else.
    """
    found = listed(text)
    if len(found) != 1:
        raise StudyError(f"--strategy {text}: one strategy is expected. For several: normfed compare --strategies.")
    return found[0]


def _others(study: StudyConfig) -> list[str]:
    return [name for name in USUAL if name != study.strategy["name"] and can_serve(study, name)]


def _fits(study: StudyConfig, name: str) -> bool:
    return _complete(name) and can_serve(study, name)


def _complete(name: str) -> bool:
    return not any(field.is_required() for field in ALGORITHMS[name].parameters.model_fields.values())
