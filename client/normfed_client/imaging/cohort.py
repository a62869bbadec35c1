"""Who trains, who is held out, who tests: decided per site, by person, from the study's seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from normfed_client.imaging.bids import Problem, Visit
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.preprocessing import missing_modalities
from normfed_common import seeds
from normfed_common.models.base import Volume
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import DataConfig

OPEN_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Roles:
    """Visits of one site, by what the study does with them. No person has two roles."""

    train: tuple[Visit, ...]
    held_out: tuple[Visit, ...]
    test: tuple[Visit, ...]

    def everybody(self) -> tuple[Visit, ...]:
        """All visits that need preprocessing."""
        return self.train + self.held_out + self.test


class PreparedCohort:
    """Preprocessed scans to learn from; see `normfed_common.models.base.Cohort`.

    The scans used last stay mapped, as many as fit into OPEN_BYTES: a training step touches a few people's, and
    memory does not grow with the cohort.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        size = entries[0].size if entries else 1
        self._open = lru_cache(maxsize=max(4, OPEN_BYTES // size))(lambda subject: self.entries[subject].volume())

    def __len__(self) -> int:
        return len(self.entries)

    def volume(self, subject: int) -> Volume:
        """Open one scan."""
        return self._open(subject)


def select(visits: Iterable[Visit], data: DataConfig) -> tuple[list[Visit], list[Problem]]:
    """The visits that a study uses, and why each other one is left out."""
    chosen: list[Visit] = []
    left_out: list[Problem] = []
    for visit in visits:
        person = visit.participant
        reason = data.exclude.get(person.subject) or data.exclude.get(person.site)
        missing = missing_modalities(visit, data.modalities)
        if data.sites is not None and person.site not in data.sites:
            continue
        if reason:
            left_out.append(Problem(visit.name, f"excluded by the study: {reason}"))
        elif missing:
            left_out.append(Problem(visit.name, f"has no {' and no '.join(missing)}"))
        else:
            chosen.append(visit)
    return chosen, left_out


def assign(visits: list[Visit], site: str, study: StudyConfig) -> Roles:
    """Roles of one site's visits.

    With ``normal: controls`` healthy people train, a share of them held out, and people with lesion masks test. With
    ``lesion-free-tissue`` a share of the people with lesion masks trains on what is far from their lesions, another is
    held out, the rest test. A site that does not train holds its healthy people out.
    """
    data = study.data
    trains = data.trains(site)
    controls = _people(visit for visit in visits if visit.participant.group in data.control_groups)
    patients = _people(
        visit for visit in visits if visit.participant.group not in data.control_groups and _labelled(visit, data)
    )
    rng = seeds.generator(study.seed, "roles", site)
    if data.normal == "controls":
        order = rng.permutation(len(controls))
        held = _held_out(len(controls), data) if trains else len(controls)
        train, held_out, test = order[held:], order[:held], patients
        people = controls
    else:
        people = patients
        order = rng.permutation(len(patients))
        learners = len(patients) - max(1, round(len(patients) * data.test_share)) if trains else 0
        held = _held_out(learners, data)
        train, held_out = order[held:learners], order[:held]
        test = [patients[i] for i in sorted(order[learners:])]
    return Roles(
        tuple(visit for i in sorted(train) for visit in people[i]),
        tuple(visit for i in sorted(held_out) for visit in people[i]),
        tuple(visit for person in test for visit in person),
    )


def kind(visit: Visit, data: DataConfig) -> str:
    """The kind of lesion of a visit: the labels of its masks, joined."""
    labels = {m.label for m in visit.lesions if data.lesion_labels is None or m.label in data.lesion_labels}
    return "+".join(sorted(labels)) or "none"


def _labelled(visit: Visit, data: DataConfig) -> bool:
    return kind(visit, data) != "none"


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
