"""Who trains, who is held out, who tests: decided per site, by person.

In a simulation the study's seed and numbers decide. In a hospital its own secret does (`Lots`), so that no server has
any say in who is in which sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from normfed_client.imaging.bids import Problem, Visit
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.labels import NO_LESION
from normfed_client.imaging.lots import Lots
from normfed_client.imaging.preprocessing import missing_modalities
from normfed_common.foundation import seeds
from normfed_common.learning.cohort import UNNUMBERED, Person, Scan, Sex
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import DataConfig

OPEN_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Roles:
    """Visits of one site, by what the study does with them. No person has two roles, but that under ``test_on:
    held-out`` those held out test as well."""

    train: tuple[Visit, ...]
    held_out: tuple[Visit, ...]
    test: tuple[Visit, ...]

    def everybody(self) -> tuple[Visit, ...]:
        """All visits that need preprocessing."""
        return tuple({visit.name: visit for visit in self.train + self.held_out + self.test}.values())


class PreparedCohort:
    """Preprocessed scans to learn from; see `normfed_common.learning.cohort.Cohort`.

    The scans used last stay mapped, as many as fit into OPEN_BYTES: a training step touches a few people's, and
    memory does not grow with the cohort.

    Parameters
    ----------
    visits
        With the preprocessed scan of each; those of one person in their order.
    told
        Voxels (X * Y * Z,) of which anything may be told; elsewhere nobody's tissue counts as normal. All when absent.
    shown
        Voxels (X * Y * Z,) of which models may see anything; elsewhere nobody has brain. All when absent.
    known
        By person, the age and sex that models are told; the dataset's when absent.
    """

    def __init__(
        self,
        visits: Sequence[tuple[Visit, Entry]],
        told: np.ndarray | None = None,
        shown: np.ndarray | None = None,
        known: Mapping[str, tuple[float | None, Sex | None]] | None = None,
    ) -> None:
        self.visits, self._told, self._shown = list(visits), told, shown
        numbers: dict[str, list[int]] = {}
        for index, (visit, _) in enumerate(self.visits):
            numbers.setdefault(visit.participant.subject, []).append(index)
        self._people = list(numbers.values())
        place = {subject: index for index, subject in enumerate(numbers)}
        self._persons = [person_of(visit, place[visit.participant.subject]) for visit, _ in self.visits]
        if known is not None:
            pairs = [known[visit.participant.subject] for visit, _ in self.visits]
            self._persons = [
                replace(person, age=age, sex=sex) for person, (age, sex) in zip(self._persons, pairs, strict=True)
            ]
        size = max((entry.size for _, entry in self.visits), default=0)
        self._open = lru_cache(maxsize=max(4, OPEN_BYTES // max(size, 1)))(self._scan)

    def _scan(self, index: int) -> Scan:
        scan = self.visits[index][1].scan(self._persons[index])
        if self._told is not None:
            scan = replace(scan, normal_index=scan.normal_index[self._told[scan.normal_index]])
        if self._shown is not None:
            mask = scan.mask & self._shown.reshape(scan.mask.shape)
            # In the order of the mapped images, whose axial slices lie together.
            images = np.where(mask.transpose(2, 0, 1), scan.images.transpose(0, 3, 1, 2), 0).transpose(0, 2, 3, 1)
            scan = replace(scan, images=images, mask=mask)
        return scan

    def __len__(self) -> int:
        return len(self.visits)

    def people(self) -> Sequence[Sequence[int]]:
        """Each person's scans."""
        return self._people

    def scan(self, index: int) -> Scan:
        """Open one scan."""
        return self._open(index)


def person_of(visit: Visit, index: int = UNNUMBERED) -> Person:
    """Whom a model is told that a visit is of."""
    whose = visit.participant
    scanner = whose.site if whose.scanner is None else f"{whose.site}/{whose.scanner}"
    return Person(index, whose.age, whose.sex, scanner)


def select(visits: Iterable[Visit], site: str, data: DataConfig) -> tuple[list[Visit], list[Problem]]:
    """The visits of a site that a study uses, and why each other one is left out.

    Parameters
    ----------
    site
        Its name in the federation, which a hospital's own dataset need not know.
    """
    chosen: list[Visit] = []
    left_out: list[Problem] = []
    if data.sites is not None and site not in data.sites:
        return chosen, left_out
    for visit in visits:
        reason = data.exclude.get(visit.participant.subject) or data.exclude.get(site)
        missing = missing_modalities(visit, data.required)
        if reason:
            left_out.append(Problem(visit.name, f"excluded by the study: {reason}"))
        elif missing:
            left_out.append(Problem(visit.name, visit.lacks(missing)))
        else:
            chosen.append(visit)
    return chosen, left_out


def assign(visits: list[Visit], site: str, study: StudyConfig, lots: Lots | None = None) -> Roles:
    """Roles of one site's visits.

    With ``normal: controls`` healthy people train, a share of them held out, and people with lesion masks test. With
    ``lesion-free-tissue`` or ``lesion-free-slices`` a share of the people with lesion masks trains on what is normal of
    theirs, another is held out, the rest test. A site that does not train holds its healthy people out. With ``test_on:
    held-out`` those held out test, and patients have no role. Of ``people_per_site`` see `_few`.

    Parameters
    ----------
    lots
        The hospital's, instead of the study's seed, shares and numbers.
    """
    data = study.data
    controls = _people(visit for visit in visits if visit.participant.group in data.control_groups)
    patients = _people(
        visit for visit in visits if visit.participant.group not in data.control_groups and _tests(visit, data)
    )
    if lots is None:
        controls, patients = _few(controls, patients, site, study)
        train, held_out, test = _drawn(controls, patients, site, study)
    else:
        train, held_out, test = _by_lot(controls, patients, data.trains(site), data, lots)
    if data.test_on == "held-out":
        test = held_out
    return Roles(*(tuple(visit for person in people for visit in person) for people in (train, held_out, test)))


def people_to_train_on(sites: Mapping[str, Sequence[Visit]]) -> dict[str, int]:
    """How many people of each site a study trains on that leaves everything to its defaults: healthy ones less those
    held out, or where the dataset has none patients, whose lesion-free tissue it learns from."""
    data = DataConfig(modalities=("T1w",))
    everybody = [visit for visits in sites.values() for visit in visits]
    if not any(visit.participant.group in data.control_groups for visit in everybody):
        data = DataConfig(modalities=("T1w",), normal="lesion-free-tissue")
    study = StudyConfig(name="default", data=data)
    return {site: len(_people(assign(list(visits), site, study).train)) for site, visits in sites.items()}


def has_role(visits: Sequence[Visit], data: DataConfig) -> bool:
    """Whether a person has a role in a study, if drawn: as healthy, or with a lesion."""
    if any(visit.participant.group in data.control_groups for visit in visits):
        return data.normal == "controls"
    return data.test_on == "patients" and any(_tests(visit, data) for visit in visits)


def _few(
    controls: list[list[Visit]], patients: list[list[Visit]], site: str, study: StudyConfig
) -> tuple[list[list[Visit]], list[list[Visit]]]:
    """`people_per_site` of those who have a role, drawn by the study's seed: healthy people and patients in their
    proportions, of each at least one; everybody where there are no more.

    People without a role are dropped only where it draws, which changes nothing for them: `assign` has none for them.
    """
    most, groups = study.data.people_per_site, (controls, patients)
    roles = [[person for person in group if has_role(person, study.data)] for group in groups]
    total = sum(map(len, roles))
    if most is None or total <= most:
        return groups
    ill = round(most * len(roles[1]) / total)
    if all(roles):
        ill = min(max(ill, 1), most - 1)
    rng = seeds.generator(study.seed, "people per site", site)
    first, second = (
        [group[i] for i in sorted(rng.permutation(len(group))[:number])]
        for group, number in zip(roles, (most - ill, ill), strict=True)
    )
    return first, second


def _drawn(
    controls: list[list[Visit]], patients: list[list[Visit]], site: str, study: StudyConfig
) -> tuple[list[list[Visit]], list[list[Visit]], list[list[Visit]]]:
    """Training, held-out and test people by the study's seed."""
    data = study.data
    trains = data.trains(site)
    rng = seeds.generator(study.seed, "roles", site)
    if data.normal == "controls":
        order = rng.permutation(len(controls))
        held = _held_out(len(controls), data) if trains else len(controls)
        train, held_out = order[held:], order[:held]
        return [controls[i] for i in sorted(train)], [controls[i] for i in sorted(held_out)], patients
    order = rng.permutation(len(patients))
    learners = len(patients) - max(1, round(len(patients) * data.test_share)) if trains else 0
    held = _held_out(learners, data)
    parts = order[held:learners], order[:held], order[learners:]
    train_people, held_people, test = ([patients[i] for i in sorted(part)] for part in parts)
    return train_people, held_people, test


def _by_lot(
    controls: list[list[Visit]], patients: list[list[Visit]], trains: bool, data: DataConfig, lots: Lots
) -> tuple[list[list[Visit]], list[list[Visit]], list[list[Visit]]]:
    """Training, held-out and test people by each person's own lot."""
    if data.normal == "controls":
        normal, test = controls, patients
    else:
        normal = [person for person in patients if trains and not lots.tests(person)]
        test = [person for person in patients if not trains or lots.tests(person)]
    held_out = [person for person in normal if not trains or lots.held_out(person)]
    return [person for person in normal if trains and not lots.held_out(person)], held_out, test


def kind(visit: Visit, data: DataConfig) -> str:
    """The kind of lesion of a visit by the labels of its masks, joined; some of them may turn out to be empty."""
    labels = {m.label for m in visit.lesions if data.lesion_labels is None or m.label in data.lesion_labels}
    return "+".join(sorted(labels)) or NO_LESION


def _tests(visit: Visit, data: DataConfig) -> bool:
    """Whether a visit shows an illness: a lesion that somebody drew, or one that nobody could."""
    return visit.participant.group in data.ill_groups or kind(visit, data) != NO_LESION


def _people(visits: Iterable[Visit]) -> list[list[Visit]]:
    grouped: dict[str, list[Visit]] = {}
    for visit in visits:
        grouped.setdefault(visit.participant.subject, []).append(visit)
    return [grouped[subject] for subject in sorted(grouped)]


def _held_out(people: int, data: DataConfig) -> int:
    """The number asked for, or of three or more people the share and at least one; never everybody."""
    if data.held_out_people is not None:
        return max(min(data.held_out_people, people - 1), 0)
    if people < 3 or data.held_out_share == 0:
        return 0
    return min(max(1, round(people * data.held_out_share)), people - 1)
