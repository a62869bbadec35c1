"""Which models a study trains and where each is evaluated.

The federated model stands beside every site training alone (`local`), all scans in one place (`pooled`, where a site of
that name exists, so in simulation only), and the baselines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from normfed_common.study.config import StudyConfig

Detail = Literal["full", "ranking"]
FEDERATED, POOLED, LOCAL = "federated", "pooled", "local-"


@dataclass(frozen=True)
class SiteDescription:
    """What a site says of itself: people per role (BELOW_MINIMUM: some, but too few to say), kinds of lesion."""

    train: int
    held_out: int
    test: int
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Arm:
    """One model of the study: who trains it, who evaluates it and how thoroughly."""

    name: str
    model: dict[str, Any]
    train: tuple[str, ...]
    evaluate: dict[str, Detail]
    maps: bool = False


@dataclass(frozen=True)
class Plan:
    """All arms, and the sites that cannot take part, with the reason."""

    arms: tuple[Arm, ...]
    left_out: dict[str, str]


def make(study: StudyConfig, sites: Mapping[str, SiteDescription]) -> Plan:
    """The arms of a study, longest training first so that workers finish together."""
    minimum = study.federation.minimum_cohort
    members = {name: site for name, site in sites.items() if name != POOLED}
    train = tuple(sorted(name for name, site in members.items() if site.train >= max(minimum, 1)))
    test = tuple(sorted(name for name, site in members.items() if site.test >= max(minimum, 1)))
    everywhere: dict[str, Detail] = dict.fromkeys(test, "full")
    arms = [Arm(FEDERATED, study.model, train, everywhere, maps=True)]
    if study.comparisons.pooled and POOLED in sites:
        arms.insert(0, Arm(POOLED, study.model, (POOLED,), everywhere))
    if study.comparisons.local:
        for name in sorted(train, key=lambda name: -members[name].train):
            where: dict[str, Detail] = {site: "full" if site == name else "ranking" for site in test}
            arms.append(Arm(LOCAL + name, study.model, (name,), where))
    for entry in study.comparisons.baselines:
        arms.append(Arm(_baseline_name(entry, study), entry, train, everywhere))
    return Plan(tuple(arms), _left_out(members, train, test, minimum))


def _baseline_name(entry: dict[str, Any], study: StudyConfig) -> str:
    """flair-intensity for the intensity of FLAIR; else the model's own name."""
    if entry["name"] != "intensity":
        return str(entry["name"])
    modalities = study.data.modalities
    chosen = entry.get("modality") or ("FLAIR" if "FLAIR" in modalities else modalities[0])
    return f"{chosen.lower()}-intensity"


def _left_out(
    members: Mapping[str, SiteDescription], train: tuple[str, ...], test: tuple[str, ...], minimum: int
) -> dict[str, str]:
    reasons = {}
    for name, site in members.items():
        parts = []
        if name not in train and site.train:
            parts.append(f"trains nothing: fewer than the minimum of {minimum} people to train on")
        if name not in test and site.test:
            parts.append(f"reports nothing: fewer than the minimum of {minimum} people to test on")
        if not site.train and not site.test:
            parts.append("takes no part: nobody to train or to test on")
        if parts:
            reasons[name] = "; ".join(parts)
    return reasons
