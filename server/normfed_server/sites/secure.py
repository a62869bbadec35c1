"""Whether sites are enough for sums by secure aggregation."""

from __future__ import annotations

from collections.abc import Sequence

from normfed_common.foundation.errors import StudyError
from normfed_common.study.config import StudyConfig


def why_no_sum(train: Sequence[str], minimum: int, deployed: bool) -> str:
    """Why the model that these sites train cannot be made of secure sums; empty where it can, or nobody trains.

    Parameters
    ----------
    minimum
        Sites in a sum.
    deployed
        Whether sites are hospitals, which send nothing in the clear. In a simulation single sites' models are trained
        in the clear: one machine holds them all.
    """
    if len(train) >= minimum or (len(train) == 1 and not deployed) or not train:
        return ""
    if len(train) == 1:
        return (
            f"trained by {train[0]} alone, whose model would leave it in the clear; all sums of this study are secure"
        )
    return f"{len(train)} sites can train; a secure sum is over {minimum} at least"


def check_enough(study: StudyConfig, train: Sequence[str], deployed: bool) -> None:
    """Refuse a study whose federated model these sites cannot train.

    Parameters
    ----------
    train
        All that can train, or that may turn out to.
    deployed
        See `why_no_sum`.

    Raises
    ------
    StudyError
        If they are too few.
    """
    config = study.privacy.secure_aggregation
    why = why_no_sum(train, config.minimum_sites, deployed) if config is not None else ""
    if why:
        raise StudyError(
            f"privacy.secure_aggregation: {why}. Let more sites train, or lower minimum_sites where the hospitals "
            "agree."
        )
