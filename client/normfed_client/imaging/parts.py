"""What a study does with each person of a dataset, for people to look at before anything is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cohort import Roles, has_role
from normfed_client.imaging.preprocessing import missing_modalities
from normfed_common.study.data import DataConfig

Role = Literal["train", "held_out", "test"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Part:
    """One person's.

    Parameters
    ----------
    roles
        Several only where those held out test as well; none of whoever is left out.
    why
        Why this person is left out, the same words for all alike; empty of everybody else.
    """

    subject: str
    site: str
    roles: tuple[Role, ...]
    why: str = ""


@dataclass(frozen=True)
class Cast:
    """Everybody's parts in a study.

    Parameters
    ----------
    parts
        Nobody's where the study names what the dataset does not have.
    minimum
        Of people, with fewer of whom a site has no part in training, or in testing.
    why_not
        Why the study cannot begin with these people; empty where it can.
    """

    parts: tuple[Part, ...]
    minimum: int
    why_not: str

    @property
    def sites(self) -> list[str]:
        """Where somebody is, in the order of the dataset."""
        return list(dict.fromkeys(part.site for part in self.parts))

    def at(self, site: str) -> Counter[Role]:
        """How many people of a site have each role."""
        return Counter(role for part in self.parts if part.site == site for role in part.roles)

    def left_out(self, site: str) -> Counter[str]:
        """How many people of a site are left out, by the reason."""
        return Counter(part.why for part in self.parts if part.site == site and not part.roles)


def parts(sites: Mapping[str, Sequence[Visit]], roles: Mapping[str, Roles], data: DataConfig) -> tuple[Part, ...]:
    """Everybody's part, by site and name.

    Parameters
    ----------
    sites
        All visits of a dataset.
    roles
        Of the sites that take part, as the run assigns them.
    """
    found = []
    for site, visits in sites.items():
        by_role = {role: _people(getattr(roles[site], role)) if site in roles else set() for role in ROLES}
        of: dict[str, list[Visit]] = {}
        for visit in visits:
            of.setdefault(visit.participant.subject, []).append(visit)
        for subject in sorted(of):
            own = tuple(role for role in ROLES if subject in by_role[role])
            found.append(Part(subject, site, own, "" if own else _why(of[subject], site, data)))
    return tuple(found)


def _people(visits: Sequence[Visit]) -> set[str]:
    return {visit.participant.subject for visit in visits}


def _why(visits: list[Visit], site: str, data: DataConfig) -> str:
    """Why somebody who is there has no role, without a name in it."""
    whose = visits[0].participant
    if data.sites is not None and site not in data.sites:
        return "the site is not in data.sites"
    if reason := data.exclude.get(whose.subject) or data.exclude.get(site):
        return f"excluded: {reason}"
    lacking = [missing_modalities(visit, data.required) for visit in visits]
    if all(lacking):
        return f"no {' and no '.join(lacking[0])}"
    if data.people_per_site is not None and has_role(visits, data):
        return f"not drawn: data.people_per_site is {data.people_per_site}"
    if whose.group in data.control_groups:
        return "healthy; the study learns from patients' lesion-free tissue"
    if data.test_on == "held-out" and data.normal == "controls":
        return "not healthy; the study tests those held out"
    return "neither healthy nor with a lesion mask that counts"
