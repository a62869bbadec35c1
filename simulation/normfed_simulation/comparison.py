"""What `normfed compare` changes in a study: which strategies stand beside each other."""

from __future__ import annotations

from typing import Any

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.study.config import StudyConfig

ANCHORS = ("local", "pooled")
EVERYTHING = "all"


def changes(study: StudyConfig, strategies: str | None, compressions: str | None) -> dict[str, Any]:
    """Values for `load_study`.

    Parameters
    ----------
    strategies
        Names with commas; the first that is not an anchor becomes the study's own. ``all``: the study's own, then every
        other that needs no parameter or has its parameters in the study, and both anchors. None: as the study says.
    compressions
        Names with commas.
    """
    changed: dict[str, Any] = {}
    comparisons: dict[str, Any] = {}
    if strategies is not None:
        names = [name.strip() for name in strategies.split(",") if name.strip()]
        known = {entry["name"]: entry for entry in (*study.comparisons.strategies, study.strategy)}
        if names == [EVERYTHING]:
            rest = [n for n in ALGORITHMS if n != study.strategy["name"] and (n in known or _complete(n))]
            names = [study.strategy["name"], *rest, *ANCHORS]
        chosen = [known.get(name, name) for name in names if name not in ANCHORS]
        if chosen:
            changed["strategy"] = chosen[0]
        comparisons = {anchor: anchor in names for anchor in ANCHORS} | {"strategies": chosen[1:]}
    if compressions is not None:
        comparisons["compressions"] = [name.strip() for name in compressions.split(",") if name.strip()]
    return changed | ({"comparisons": comparisons} if comparisons else {})


def _complete(name: str) -> bool:
    return not any(field.is_required() for field in ALGORITHMS[name].parameters.model_fields.values())
