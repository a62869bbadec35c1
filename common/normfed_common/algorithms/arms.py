"""Names of the models of a study: the federated one, and what stands beside it in every table.

A server asks about them by these names, and a hospital knows from them which models a study can ask about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from normfed_common.learning.entries import config_of, postprocessing_of
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import draws_anything
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN

FEDERATED = "federated"  # the arm that a study is about; what is asked of a site as a whole is asked in its name
LOCAL, WITHOUT = "local-", "without-"  # before the name of a site
OWN = "local"  # in tables: at every site its own model
POOLED = "pooled"  # the arm, and the site that trains it, which has all hospitals' scans: in simulation only
REPEAT = "~"  # before the number of a further training of the same arm


def trainings(study: StudyConfig) -> int:
    """How often the study's model is trained: once where nothing is drawn, for every training is the same."""
    return study.comparisons.repeats if draws_anything(study, study.model) else 1


def compressed(study: StudyConfig, kind: str) -> str:
    """The arm of the study's strategy under another compression."""
    return f"{study.strategy['name']}+{kind}"


def repeated(arm: str, repeat: int) -> str:
    """The same arm trained once more; ``repeat`` is 1 for the second training."""
    return f"{arm}{REPEAT}{repeat + 1}"


def other_strategies(study: StudyConfig) -> dict[str, dict[str, Any]]:
    """Arm to strategy, under the strategy's name."""
    return _numbered((entry["name"], entry) for entry in study.comparisons.strategies)


def baselines(study: StudyConfig) -> dict[str, dict[str, Any]]:
    """Arm to model; a baseline that is the study's own model over again, to the last voxel, is none."""
    return _numbered(
        (_baseline_name(entry, study), entry)
        for entry in study.comparisons.baselines
        if draws_anything(study, study.model) or not _same_maps(entry, study)
    )


@dataclass(frozen=True)
class Trained:
    """How an arm was trained: the entries of the study for its model and strategy, and which training it is (0: the
    first)."""

    model: dict[str, Any]
    strategy: dict[str, Any]
    repeat: int = 0


def trained_as(study: StudyConfig, arm: str) -> Trained | None:
    """How a study trains the arm of this name; None where it has none."""
    name, _, number = arm.partition(REPEAT)
    repeat = int(number) - 1 if number.isdecimal() else 0
    if (number and not 0 < repeat < trainings(study)) or (name != arm and not number):
        return None
    beside = study.comparisons
    own = {FEDERATED, *(compressed(study, kind) for kind in beside.compressions)}
    if name in own or (beside.leave_one_site_out and name.startswith(WITHOUT)):
        return Trained(study.model, study.strategy, repeat)
    if (beside.pooled and name == POOLED) or (beside.local and name.startswith(LOCAL)):
        return Trained(study.model, PLAIN, repeat)
    strategies = other_strategies(study)
    if name in strategies:
        return Trained(study.model, strategies[name], repeat)
    entry = baselines(study).get(arm)
    return None if entry is None else Trained(entry, PLAIN)


def _same_maps(entry: dict[str, Any], study: StudyConfig) -> bool:
    """Whether a baseline is the study's own model, and its maps are changed alike."""
    return entry["name"] == study.model["name"] and (
        (config_of(MODELS, entry), postprocessing_of(entry, study.postprocessing))
        == (config_of(MODELS, study.model), postprocessing_of(study.model, study.postprocessing))
    )


def _numbered(entries: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Entries by name, in order; a name that comes again is numbered: atlas, atlas#2, atlas#3."""
    names: Counter[str] = Counter()
    found: dict[str, dict[str, Any]] = {}
    for name, entry in entries:
        names[name] += 1
        found[name if names[name] == 1 else f"{name}#{names[name]}"] = entry
    return found


def _baseline_name(entry: dict[str, Any], study: StudyConfig) -> str:
    """What the model calls itself, or its name in the study; and what is done to its maps where that is its own."""
    name = MODELS[entry["name"]].title(config_of(MODELS, entry), study.data.modalities) or str(entry["name"])
    own = postprocessing_of(entry, study.postprocessing)
    return name if own == study.postprocessing else f"{name}+{own.title}"
