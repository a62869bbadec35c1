"""A study held against a hospital's policy: may it run at all, and does it need a person?

All is decided by what a request says of its study, before a plug-in is imported or a scan opened. A study that leaves
anything out, which the defaults of this version would fill in, is refused when the site is opened: what was decided on
is then all that there is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from normfed_client.hospital.folder import HospitalConfig
from normfed_client.hospital.policy import ApprovalRule, Policy
from normfed_client.hospital.rules import ONLY_REFUSE, Rules
from normfed_common.foundation import digests
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN
from normfed_common.study.validation import validate

LEAVING = ("statistics", "plugins")  # decide what leaves, beside those of `Rules` that do more than refuse
MEMBERS = "members"  # of an ensemble, in its entry


@dataclass(frozen=True)
class Parts:
    """What a study is made of, by name.

    Attributes
    ----------
    models
        Its own, baselines, and members of ensembles.
    strategies
        Those that are compared too, and that of baselines.
    """

    models: frozenset[str]
    strategies: frozenset[str]
    transforms: frozenset[str]


@lru_cache(maxsize=64)
def study_of_request(text: str) -> StudyConfig:
    """The study of a request as its text says it; nothing is filled in, and no plug-in is looked at.

    Raises
    ------
    SiteError
        If it is none, or the text leaves out what a default fills in: one study has one text, and one digest.
    """
    try:
        said = json.loads(text)
        study = validate(StudyConfig, said, "request")
    except Exception as error:
        raise SiteError(SiteCode.STUDY_REFUSED, str(error)) from error
    if said != study.model_dump(mode="json"):
        raise SiteError(SiteCode.STUDY_REFUSED, "its text is not that of the study as it is written out whole")
    return study


def parts_of(study: StudyConfig) -> Parts:
    """The names of all models, strategies and transforms of a resolved study."""
    models = frozenset(_names((study.model, *study.comparisons.baselines)))
    strategies = frozenset(_names((study.strategy, *study.comparisons.strategies, PLAIN)))
    return Parts(models, strategies, frozenset(_names(study.transforms)))


def never_allowed(policy: Policy, study: StudyConfig) -> str:
    """Which model, strategy or transform of a study the hospital never lets in; nothing where it lets in all."""
    return "; ".join(_strangers(policy, parts_of(study)))


def misfits(rule: ApprovalRule, study: StudyConfig, statistics: bool = False) -> tuple[str, ...]:
    """In what a study goes beyond a rule; nothing where it fits.

    Parameters
    ----------
    statistics
        Whether what is asked is who is there, or statistics of cohorts, and nothing of a model.
    """
    privacy, found = study.privacy, _strangers(rule, parts_of(study))
    if rule.largest_epsilon is not None:
        if privacy.epsilon is None or privacy.unit != "patient":
            found.append("largest_epsilon: the study does not protect patients (privacy.epsilon)")
        elif privacy.epsilon > rule.largest_epsilon:
            found.append(f"largest_epsilon: {privacy.epsilon:g} is more than {rule.largest_epsilon:g}")
        elif privacy.delta > rule.largest_delta:
            found.append(f"largest_delta: {privacy.delta:g} is more than {rule.largest_delta:g}")
    if rule.secure_aggregation and privacy.secure_aggregation is None:
        found.append("secure_aggregation: the study has none")
    if rule.most_rounds is not None and study.federation.rounds > rule.most_rounds:
        found.append(f"most_rounds: {study.federation.rounds:,} are more than {rule.most_rounds:,}")
    for key, count in (("most_comparisons", comparisons_of(study)), ("most_repeats", study.comparisons.repeats)):
        most: int | None = getattr(rule, key)
        if most is not None and count > most:
            found.append(f"{key}: {count:,} are more than {most:,}")
    others = sorted(set(study.evaluation.metrics) - set(rule.metrics)) if rule.metrics is not None else []
    if others:
        found.append(f"metrics: {', '.join(others)} not listed")
    if rule.statistics_only and not statistics:
        found.append("statistics_only: a model is asked for")
    return tuple(found)


def comparisons_of(study: StudyConfig) -> int:
    """With how many others a study compares its model; a model for each site, or without each, is one of them."""
    beside = study.comparisons
    named = (*beside.baselines, *beside.strategies, *beside.compressions)
    return len(named) + beside.local + beside.leave_one_site_out


def digest_of_rules(config: HospitalConfig) -> str:
    """Of what the hospital decides of what leaves: once it is another, approvals given before hold no more.

    Limits that only refuse are not in it, nor who is excluded: a person who leaves must not stop a study.
    """
    kept = Rules.model_fields.keys() - ONLY_REFUSE - {"exclude"} | set(LEAVING)
    return digests.of_json(config.model_dump(mode="json", include=kept))


def _strangers(allowed: Policy | ApprovalRule, parts: Parts) -> list[str]:
    found = []
    for what in ("models", "strategies", "transforms"):
        listed: Collection[str] | None = getattr(allowed, what)
        others = sorted(getattr(parts, what) - set(listed)) if listed is not None else []
        if others:
            found.append(f"{what}: {', '.join(others)} not listed")
    return found


def _names(entries: Any) -> Iterator[str]:
    """Of entries and their members; what has no name that can be listed has one that nobody lists."""
    for entry in entries if isinstance(entries, list | tuple) else [entries]:
        name = entry.get("name") if isinstance(entry, dict) else entry
        yield name if isinstance(name, str) else repr(name)[:80]
        if isinstance(entry, dict) and MEMBERS in entry:
            yield from _names(entry[MEMBERS])
