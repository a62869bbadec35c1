"""Which models a study trains and where each is evaluated.

The federated model stands beside each site training alone (`local`), all scans in one place (`pooled`, where a site of
that name exists, so in simulation only), and the baselines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from normfed_common.algorithms.arms import (
    FEDERATED,
    LOCAL,
    POOLED,
    WITHOUT,
    baselines,
    compressed,
    other_strategies,
    repeated,
    trainings,
)
from normfed_common.algorithms.sharing import needs_every_part
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.entries import config_of, postprocessing_of
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import assemble
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN, Compression
from normfed_common.wire.requests import Payload, Request
from normfed_server.sites.description import SiteDescription
from normfed_server.sites.letterhead import Letterhead
from normfed_server.steps.catalogue import make_step

Detail = Literal["full", "ranking"]


@dataclass(frozen=True)
class Arm:
    """One model of the study: who trains it, by which strategy, who evaluates it and how thoroughly.

    Parameters
    ----------
    calibrate
        Sites that test nobody, but whose held-out normal people set thresholds and p-values too.
    federated
        Whether sites are sampled, and hospital time counts.
    open
        Whether sites that come later may join.
    repeat
        Which training of the same model this is; 0 for the first.
    not_served
        Sites that could test but have no whole model, with the reason.
    """

    name: str
    model: dict[str, Any]
    train: tuple[str, ...]
    evaluate: dict[str, Detail]
    calibrate: tuple[str, ...] = ()
    maps: bool = False
    strategy: dict[str, Any] = field(default_factory=lambda: dict(PLAIN))
    federated: bool = False
    open: bool = False
    compression: Compression = "none"
    repeat: int = 0
    not_served: dict[str, str] = field(default_factory=dict)

    def request(self, letterhead: Letterhead, payload: Payload) -> Request:
        """A request about this model."""
        return letterhead.request(payload, self.name, self.model, self.strategy, self.repeat)


@dataclass(frozen=True)
class Plan:
    """All arms, and the sites that cannot take part, with the reason."""

    arms: tuple[Arm, ...]
    left_out: dict[str, str]


def make(study: StudyConfig, sites: Mapping[str, SiteDescription]) -> Plan:
    """The arms of a study, longest training first so that workers finish together.

    Where the held-out healthy people test there is the federated one alone: they say of no model whether it finds
    lesions, so nothing can be compared.
    """
    minimum = study.federation.minimum_cohort
    members = {name: site for name, site in sites.items() if name != POOLED}
    train = tuple(sorted(name for name, site in members.items() if site.train >= max(minimum, 1)))
    test = tuple(sorted(name for name, site in members.items() if site.test >= max(minimum, 1)))
    everywhere: dict[str, Detail] = dict.fromkeys(test, "full")
    beside = tuple(sorted(n for n, site in members.items() if n not in test and site.held_out >= max(minimum, 1)))
    arms = [_federated(FEDERATED, study, study.strategy, train, everywhere, beside, maps=True)]
    if study.data.test_on == "held-out":
        return Plan(tuple(arms), _left_out(members, train, test, minimum))
    if study.comparisons.pooled and POOLED in sites:
        arms.insert(0, Arm(POOLED, study.model, (POOLED,), everywhere, beside))
    ranked: dict[str, Detail] = dict.fromkeys(test, "ranking")
    for name, strategy in other_strategies(study).items():
        arms.append(_federated(name, study, strategy, train, ranked))
    for kind in study.comparisons.compressions:
        arm = _federated(compressed(study, kind), study, study.strategy, train, ranked)
        arms.append(replace(arm, compression=kind))
    if study.comparisons.leave_one_site_out:
        arms += _without_one(study, train, test)
    own_parts = needs_every_part(_whole_model(study), PLAIN)
    if study.comparisons.local:
        for name in sorted(train, key=lambda name: -members[name].train):
            served = (name,) if own_parts else test
            where: dict[str, Detail] = {site: "full" if site == name else "ranking" for site in served if site in test}
            arms.append(Arm(LOCAL + name, study.model, (name,), where))
    for repeat in range(1, trainings(study)):
        ranked_at = test if study.comparisons.leave_one_site_out else tuple(site for site in test if site not in train)
        arms += [_again(arm, repeat, ranked_at) for arm in arms if not arm.repeat]
    arms += [Arm(name, entry, train, everywhere, beside) for name, entry in baselines(study).items()]
    return Plan(tuple(arms), _left_out(members, train, test, minimum))


def baseline_titles(study: StudyConfig) -> dict[str, str]:
    """Baseline's arm to what people read: ``FLAIR intensity with the same post-processing``."""
    titles = {name: _baseline_title(entry, study) for name, entry in baselines(study).items()}
    times = Counter(titles.values())
    return {
        name: title if times[title] == 1 or title == name else f"{title} ({name})" for name, title in titles.items()
    }


def federated_title(study: StudyConfig) -> str:
    """What people read of the study's own model: ``federated vae (FedAvg)``, ``federated matched filter (sums)``."""
    kinds = {phase.kind for phase in _whole_model(study).phases()}
    learnt = "sums" if kinds else "nothing is learnt"
    how = ALGORITHMS[study.strategy["name"]].title if "averaged" in kinds else learnt
    words = _words(study.model, study)
    return f"federated {words.replace('-', ' ') if words == study.model['name'] else words} ({how})"


def _federated(
    name: str,
    study: StudyConfig,
    strategy: dict[str, Any],
    train: tuple[str, ...],
    evaluate: Mapping[str, Detail],
    calibrate: tuple[str, ...] = (),
    maps: bool = False,
) -> Arm:
    every_part = needs_every_part(_whole_model(study), strategy)
    step = make_step(strategy, study.federation)
    if 0 < len(train) < step.minimum:
        raise StudyError(
            f"strategy {strategy['name']}: needs {step.minimum} training sites, and {len(train)} can train. "
            "Lower `malicious`, or take another strategy."
        )
    unknown = sorted(step.named_sites() - set(train))
    if unknown:
        raise StudyError(
            f"strategy {strategy['name']}: clusters names {', '.join(unknown)}; sites that train are "
            f"{', '.join(train)}."
        )
    not_served = {
        site: f"never trained, and {strategy['name']} keeps part of the model at the sites that did"
        for site in evaluate
        if every_part and site not in train
    }
    served = {site: detail for site, detail in evaluate.items() if site not in not_served}
    return Arm(
        name,
        study.model,
        train,
        served,
        tuple(site for site in calibrate if site in train or not every_part),
        maps,
        strategy,
        federated=True,
        open=True,
        compression=study.federation.compression,
        not_served=not_served,
    )


def _whole_model(study: StudyConfig) -> NormativeModel:
    return assemble(study.transforms, study.model, Setting.of(study))


def _again(arm: Arm, repeat: int, borrowing: tuple[str, ...]) -> Arm:
    """The same arm trained once more; local models are tested at home and at the sites that borrow them."""
    own = arm.name.removeprefix(LOCAL) if arm.name.startswith(LOCAL) else None
    where: dict[str, Detail] = {s: "ranking" for s in arm.evaluate if own is None or s == own or s in borrowing}
    return replace(arm, name=repeated(arm.name, repeat), evaluate=where, calibrate=(), maps=False, repeat=repeat)


def _without_one(study: StudyConfig, train: tuple[str, ...], test: tuple[str, ...]) -> list[Arm]:
    """A federation without each training site in turn, tested there."""
    if needs_every_part(_whole_model(study), study.strategy):
        raise StudyError(
            f"comparisons.leave_one_site_out: {study.strategy['name']} keeps part of the model at the sites, so a site "
            "that never trained has no whole model. Take another strategy."
        )
    if len(train) < 2:
        raise StudyError("comparisons.leave_one_site_out: needs two training sites or more.")
    return [
        Arm(
            WITHOUT + left_out,
            study.model,
            tuple(site for site in train if site != left_out),
            {left_out: "ranking"},
            strategy=study.strategy,
            federated=True,
            compression=study.federation.compression,
        )
        for left_out in train
        if left_out in test
    ]


def _baseline_title(entry: dict[str, Any], study: StudyConfig) -> str:
    """What the model is in words, and how its maps are changed beside those of the study's model."""
    title = _words(entry, study)
    alike = entry["name"] == study.model["name"] and title in (entry["name"], _words(study.model, study))
    if alike and (settings := _other_settings(entry, study)):
        title += f" ({settings})"
    own, ours = (postprocessing_of(each, study.postprocessing) for each in (entry, study.model))
    if own.is_off:
        return title if ours.is_off or not alike else f"{title} without post-processing"
    return (
        f"{title} with the same post-processing" if own == ours else f"{title} with other post-processing ({own.title})"
    )


def _words(entry: dict[str, Any], study: StudyConfig) -> str:
    return MODELS[entry["name"]].words(config_of(MODELS, entry), study.data.modalities) or str(entry["name"])


def _other_settings(entry: dict[str, Any], study: StudyConfig) -> str:
    """How a baseline differs from the study's own model, where both are of one name: ``prior_subjects: 0``."""
    its, ours = (config_of(MODELS, each).model_dump(mode="json") for each in (entry, study.model))
    return ", ".join(f"{name}: {_said(value)}" for name, value in its.items() if value != ours[name])


def _said(value: Any) -> str:
    """A setting as people read it."""
    if value is None:
        return "default"
    if isinstance(value, list | dict) and not value:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


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
