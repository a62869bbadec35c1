"""Who of a dataset takes part in a study, and whether they are enough."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from normfed_client.imaging.bids import Dataset, Problem, Visit
from normfed_client.imaging.cohort import Roles, assign, select
from normfed_client.imaging.groups import groups_of, how_to_say, none_healthy, shown
from normfed_client.imaging.lots import Lots
from normfed_client.imaging.parts import Cast, parts
from normfed_client.imaging.preprocessing import missing_modalities
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import LONGEST_SITE_NAME, SITE_NAME, not_meant_otherwise, site_name
from normfed_common.study.names import check_names
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_server.arms.enough_sites import check_testing, check_training
from normfed_server.arms.plan import Plan, make
from normfed_server.arms.secure.planning import restricted
from normfed_server.sites.description import SiteDescription
from normfed_simulation.harmonizable import check_transforms


def roles_of(study: StudyConfig, dataset: Dataset, lots: Lots | None = None) -> tuple[dict[str, Roles], list[Problem]]:
    """By site that takes part, whose visits have which role; and what is left out.

    Parameters
    ----------
    lots
        Of hospitals that divide their people themselves; see `assign`.

    Raises
    ------
    DatasetError
        If nobody takes part, or a site has a name that no site can have, or that results use otherwise.
    StudyError
        If the study names sites or people that the dataset does not have.
    """
    root, sites = dataset.root, dataset.sites()
    check_names(study.data, sites, {visit.participant.subject for visit in dataset.visits}, str(root))
    wanted = study.data.sites or tuple(name for name in sites if name not in study.data.exclude)
    problems, roles, without = list(dataset.at(wanted).problems), dict[str, Roles](), list[Visit]()
    for name in wanted:
        check_name(name, sites, root)
        chosen, left_out = select(sites[name], name, study.data)
        problems += left_out
        found = assign(chosen, name, study, lots)
        if found.everybody():
            roles[name] = found
        else:
            without += chosen
    if not roles and without:
        raise DatasetError(_without_a_role(root, study, without))
    if not roles:
        example = f" For example {problems[-1].what}: {problems[-1].why}." if problems else ""
        raise DatasetError(
            f"{root}: nobody has all of {', '.join(study.data.required)}, so nobody takes part.{example} "
            f"Try `normfed inspect {root}`."
        )
    return roles, problems


def check_name(site: str, sites: Collection[str], root: Path) -> None:
    """Whether one of the sites of a dataset can be called as it is.

    Raises
    ------
    DatasetError
        If no message can hold its name, or results use it otherwise.
    """
    if not re.fullmatch(SITE_NAME, site):
        name = site_name(site)
        free = f"{name}-2" if name in sites else name  # not another site's
        instead = f" it, such as {free}," if name else " it"
        raise DatasetError(
            f"{root}: a site is called {site[:LONGEST_SITE_NAME]!r}; a site's name is at most {LONGEST_SITE_NAME} "
            f"letters, digits, dots, hyphens and underscores. Rename{instead} in participants.tsv."
        )
    try:
        not_meant_otherwise(site)
    except ValueError as error:
        raise DatasetError(
            f"{root}: {error}. Rename it in participants.tsv, or leave it out under data.exclude."
        ) from error


def foreseen(study: StudyConfig, dataset: Dataset) -> Cast:
    """What a study would do with everybody of a dataset, as its run does, and why it cannot begin with them.

    Nobody's part is known where the study names sites or people that the dataset does not have.
    """
    minimum, sites = study.federation.minimum_cohort, dataset.sites()
    try:
        roles, _ = roles_of(study, dataset)
    except StudyError as error:
        return Cast((), minimum, str(error))
    except DatasetError as error:  # nobody has a role, each for a reason
        return Cast(parts(sites, {}, study.data), minimum, str(error))
    why = ""
    try:
        check_groups(study, dataset)
        check_plan(study, roles, dataset)
    except (DatasetError, StudyError) as error:
        why = str(error)
    return Cast(parts(sites, roles, study.data), minimum, why)


def _without_a_role(root: Path, study: StudyConfig, visits: list[Visit]) -> str:
    """Why people who have all scans neither train nor test: by their groups."""
    groups = groups_of(visits)
    healthy = " or ".join(study.data.control_groups)
    return (
        f"{root}: {sum(groups.values())} people have {' and '.join(study.data.required)}, and none is in the group "
        f"{healthy}, has a lesion mask or is in one of data.ill_groups; their groups: {shown(groups)}. "
        f"{how_to_say(groups)}"
    )


def check_groups(study: StudyConfig, dataset: Dataset) -> None:
    """Whether a study that learns from healthy people knows who they are.

    Raises
    ------
    DatasetError
        If nobody of the dataset is in one of its control groups.
    """
    if study.data.normal == "controls":
        missing = none_healthy(groups_of(dataset.visits), study.data.control_groups)
        if missing:
            raise DatasetError(f"{dataset.root}: {missing}")


def check_plan(study: StudyConfig, roles: Mapping[str, Roles], dataset: Dataset) -> None:
    """Whether so many people at so many sites are enough, if all of them can be prepared.

    Raises
    ------
    DatasetError
        If nobody can be trained or tested on, or too few, which would show only after all scans are prepared.
    HarmonizationError
        If one of the study's transforms cannot be learnt from them.
    StudyError
        If they are too few otherwise.
    """
    try:
        plan = _plan(study, roles)
    except DatasetError as error:
        if lacking := _lacking_modalities(study, roles, dataset):
            raise DatasetError(f"{error} {lacking}") from error
        raise
    check_transforms(study, {name: of.train for name, of in roles.items()}, plan)


def _plan(study: StudyConfig, roles: Mapping[str, Roles]) -> Plan:
    """What is trained and tested with so many people.

    Raises
    ------
    DatasetError, StudyError
        See `check_plan`.
    """
    if not any(of.test for of in roles.values()):
        people = len({visit.participant.subject for of in roles.values() for visit in of.everybody()})
        raise DatasetError(
            f"No site can test: nobody of {people} people has a lesion mask that counts "
            "(derivatives/*/sub-*_label-X_mask.nii.gz). Add patients, such as those of another dataset by a second "
            "--data DIR; name groups that are ill without a mask under data.ill_groups; or write data.test_on: "
            "held-out, to train and calibrate on healthy people alone, for `normfed score`."
        )

    def count(visits: tuple[Visit, ...]) -> int:
        people = len({visit.participant.subject for visit in visits})
        return people if people == 0 or people >= study.federation.minimum_cohort else BELOW_MINIMUM

    sites = {
        name: SiteDescription(count(of.train), count(of.held_out), count(of.test), ()) for name, of in roles.items()
    }
    plan, _ = restricted(make(study, sites), study, deployed=False)
    check_training(plan, sites, study)
    check_testing(plan, sites, study, deployed=False)
    return plan


def _lacking_modalities(study: StudyConfig, roles: Mapping[str, Roles], dataset: Dataset) -> str:
    """Which sites take no part since nobody there has all scans; empty where there is none."""
    said, data = [], study.data
    for site, visits in dataset.sites().items():
        if site in roles or site in data.exclude or (data.sites is not None and site not in data.sites):
            continue
        lacking = [missing_modalities(visit, data.required) for visit in visits]
        if all(lacking):
            said.append(f"{site} (no {' and no '.join(lacking[0])})")
    return f"Left out, for nobody there has all of data.modalities: {', '.join(said)}." if said else ""
