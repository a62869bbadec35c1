"""Whether a plan has a site that can train the federated model, and one that can test it."""

from __future__ import annotations

from collections.abc import Mapping

from normfed_common.algorithms.arms import FEDERATED, POOLED
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_server.arms.plan import Arm, Plan
from normfed_server.sites.description import SiteDescription


def check_training(plan: Plan, sites: Mapping[str, SiteDescription], study: StudyConfig) -> None:
    """Refuse a plan in which nobody trains.

    Raises
    ------
    DatasetError
        If no site can train.
    """
    if not _federated(plan).train:
        raise DatasetError(
            f"No site can train: people to train on/to test on are {_counts(sites)}. {_cure(sites, study)}"
        )


def check_testing(plan: Plan, sites: Mapping[str, SiteDescription], study: StudyConfig, deployed: bool) -> None:
    """Refuse a plan in which nobody tests.

    Raises
    ------
    StudyError
        If no site can test under the study's strategy.
    DatasetError
        If no site has enough people to test on.
    """
    federated = _federated(plan)
    if federated.evaluate:
        return
    if federated.not_served:
        site, why = next(iter(federated.not_served.items()))
        raise StudyError(f"No site can test: {site} {why}. Take another strategy.")
    smallest = "the site's own minimum of people (minimum_people of its site.yaml)"
    if not deployed:
        smallest = f"federation.minimum_cohort of the study, {study.federation.minimum_cohort}"
    raise DatasetError(
        f"No site can test: people to train on/to test on are {_counts(sites)}. "
        + (
            f"Too few: fewer than {smallest}."
            if any(site.test == BELOW_MINIMUM for site in sites.values())
            else "Patients need lesion masks (derivatives/*/sub-*_label-X_mask.nii.gz)."
        )
    )


def _federated(plan: Plan) -> Arm:
    return next(arm for arm in plan.arms if arm.name == FEDERATED)


def _cure(sites: Mapping[str, SiteDescription], study: StudyConfig) -> str:
    """What could be changed, so that somebody trains."""
    if any(site.train for site in sites.values()):
        return f"Too few: check federation.minimum_cohort, {study.federation.minimum_cohort}, and data.modalities."
    if study.data.normal == "controls":
        return (
            f"Nobody is healthy and has all scans: check data.control_groups ({', '.join(study.data.control_groups)}) "
            "and data.modalities, or write data.normal: lesion-free-tissue to train on what is normal of patients."
        )
    return "Check data.normal, data.modalities and federation.minimum_cohort of the study."


def _counts(sites: Mapping[str, SiteDescription]) -> str:
    members = {name: site for name, site in sites.items() if name != POOLED}
    return ", ".join(f"{name} {_count(site.train)}/{_count(site.test)}" for name, site in members.items())


def _count(people: int) -> str:
    return "too few" if people == BELOW_MINIMUM else str(people)
