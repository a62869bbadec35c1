"""Which of a study's models can be trained where all sums are secure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normfed_common.foundation.errors import StudyError
from normfed_common.study.config import StudyConfig
from normfed_server.arms.plan import Arm, Plan
from normfed_server.sites.letterhead import FEDERATED


def is_masked(study: StudyConfig, arm: Arm) -> bool:
    """Whether an arm's sums are secure: one that a single site trains is no federation, and there is nothing to add."""
    return study.privacy.secure_aggregation is not None and len(arm.train) > 1


def restricted(plan: Plan, study: StudyConfig, deployed: bool) -> tuple[Plan, dict[str, str]]:
    """The plan without the arms that cannot be trained; and these, with the reason.

    Parameters
    ----------
    deployed
        Whether sites are hospitals, which send nothing in the clear. In a simulation single sites' models are trained
        in the clear: one machine holds them all.

    Raises
    ------
    StudyError
        If the federated model is among them.
    """
    config = study.privacy.secure_aggregation
    if config is None:
        return plan, {}
    without = {arm.name: why for arm in plan.arms if (why := _why_not(arm.train, config.minimum_sites, deployed))}
    if FEDERATED in without:
        raise StudyError(
            f"privacy.secure_aggregation: {without[FEDERATED]}. Wait for more sites, or lower minimum_sites where the "
            "hospitals agree."
        )
    return replace(plan, arms=tuple(arm for arm in plan.arms if arm.name not in without)), without


def _why_not(train: Sequence[str], minimum: int, deployed: bool) -> str:
    if len(train) >= minimum or (len(train) == 1 and not deployed) or not train:
        return ""
    if len(train) == 1:
        return (
            f"trained by {train[0]} alone, whose model would leave it in the clear; all sums of this study are secure"
        )
    return f"{len(train)} sites can train; a secure sum is over {minimum} at least"
