"""Whether a study's transforms can be learnt from who trains, told before a scan is prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cohort import person_of
from normfed_common.algorithms.arms import FEDERATED, POOLED
from normfed_common.foundation.errors import HarmonizationError
from normfed_common.learning.entries import config_of
from normfed_common.study.config import StudyConfig
from normfed_common.transforms.base import Listed
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.combat.config import CombatConfig
from normfed_common.transforms.combat.transform import CombatTransform
from normfed_server.arms.plan import Plan


def check_transforms(study: StudyConfig, train: Mapping[str, Sequence[Visit]], plan: Plan) -> None:
    """Whether every model of the plan can learn them, from the visits of who trains, by site.

    Raises
    ------
    HarmonizationError
        If not; it says for which model, where that is not the federated one.
    """
    learnt = {arm.train: arm.name for arm in reversed(plan.arms) if arm.train != (POOLED,)}
    asked = [(TRANSFORMS[entry["name"]], config_of(TRANSFORMS, entry)) for entry in study.transforms]
    asked += [(CombatTransform, config) for config in _of_latents(study)]
    for kind, config in asked:
        for sites, arm in sorted(learnt.items(), key=lambda one: one[1] != FEDERATED):
            try:
                kind.check_people(config, {site: listed(train[site]) for site in sites}, arm == FEDERATED)
            except HarmonizationError as error:
                if arm == FEDERATED:
                    raise
                raise HarmonizationError(
                    f"{error} This is so of the model {arm}, which stands beside the federated one (comparisons)."
                ) from error


def _of_latents(study: StudyConfig) -> list[CombatConfig]:
    """What ComBat of scans asks of people, for those of latents, which ask the same."""
    heads = [entry["one_class"] for entry in (study.model, *study.comparisons.baselines) if entry.get("one_class")]
    return [
        CombatConfig(covariates=(), minimum_people=one["minimum_people"]) for one in heads if one["fit_on"] == "combat"
    ]


def listed(visits: Sequence[Visit]) -> list[Listed]:
    """Visits of one site, whose people are numbered."""
    numbers: dict[str, int] = {}
    for visit in visits:
        numbers.setdefault(visit.participant.subject, len(numbers))
    return [Listed(person_of(one, numbers[one.participant.subject]), one.images.keys()) for one in visits]
