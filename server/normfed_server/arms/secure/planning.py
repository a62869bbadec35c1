"""Which of a study's models can be trained where all sums are secure."""

from __future__ import annotations

from dataclasses import replace

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.study.config import StudyConfig
from normfed_server.arms.plan import Arm, Plan
from normfed_server.sites.secure import check_enough, why_no_sum


def is_masked(study: StudyConfig, arm: Arm) -> bool:
    """Whether an arm's sums are secure: one that a single site trains is no federation, and there is nothing to add."""
    return study.privacy.secure_aggregation is not None and len(arm.train) > 1


def restricted(plan: Plan, study: StudyConfig, deployed: bool) -> tuple[Plan, dict[str, str]]:
    """The plan without the arms that cannot be trained; and these, with the reason.

    Parameters
    ----------
    deployed
        See `why_no_sum`.

    Raises
    ------
    StudyError
        If the federated model is among them.
    """
    config = study.privacy.secure_aggregation
    if config is None:
        return plan, {}
    for arm in plan.arms:
        if arm.name == FEDERATED:
            check_enough(study, arm.train, deployed)
    without = {arm.name: why for arm in plan.arms if (why := why_no_sum(arm.train, config.minimum_sites, deployed))}
    return replace(plan, arms=tuple(arm for arm in plan.arms if arm.name not in without)), without
