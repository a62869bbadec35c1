"""A hospital's custody of its people in one study: who takes part, and over whom something may leave.

A simulated site has none: the researcher holds all scans anyway.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from normfed_client.hospital.blocks import Member, blocks, releasable
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Choose, Kind, Releases
from normfed_client.hospital.rules import CustodyConfig
from normfed_client.imaging.bids import Visit
from normfed_client.imaging.lots import Lots
from normfed_common.foundation import digests
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.foundation.files import write_text
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.roles import ROLES, Role

People = Mapping[str, Sequence[str]]  # name to the visits that are used, each with its kind of lesion
# Each of people with the same modalities: what is learnt of a modality is about those alone who have it.
Groups = Sequence[People]
MEMBERS = "members.json"


class Members(Frozen):
    """Who takes part in a run.

    Parameters
    ----------
    study
        Digest of the run's study.
    serial
        Of the record when this was settled: a record with fewer sets is an old copy.
    train, held_out, test
        Digests of the people in each role.
    waiting
        Of each role: how many candidates do not take part, for want of others.
    digest
        Of all the rest, so that a bit that flips is noticed.
    """

    study: str
    serial: int
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    test: tuple[str, ...]
    waiting: dict[str, int]
    digest: str = ""

    def of(self, role: Role) -> tuple[str, ...]:
        """The people of a role."""
        found: tuple[str, ...] = getattr(self, role)
        return found

    def content(self) -> str:
        """What `digest` is of all the rest."""
        return digests.of_json(self.model_dump(mode="json", exclude={"digest"}))


class Custody:
    """See the module.

    Parameters
    ----------
    visits
        All of the hospital's, whatever the study uses of them: a person's version is made of all their scans.
    folder
        The run's own, where it is settled who takes part.

    Raises
    ------
    SiteError
        If the study asks for less protection than the hospital's floors, or for more work than its limits.
    """

    def __init__(self, config: CustodyConfig, study: StudyConfig, visits: Sequence[Visit], folder: Path) -> None:
        config.rules.check(study)
        self.rules, self.run = config.rules, config.run
        self._study, self._path, self._record = study.digest, folder / MEMBERS, config.record
        self._recipe = digests.of_json(study.preprocessing.model_dump(mode="json"))
        try:
            self._secret = PeopleSecret.read(config.people_secret)
        except UserError as error:
            raise SiteError(SiteCode.RECORD_UNUSABLE, str(error)) from error
        self._visits: dict[str, list[Visit]] = {}
        for visit in visits:
            self._visits.setdefault(visit.participant.subject, []).append(visit)
        self._contents: dict[str, str] = {}

    @cached_property
    def lots(self) -> Lots:
        """How the hospital divides its people."""
        return Lots(self._secret.lot, self.rules.held_out_share, self.rules.test_share)

    def taking_part(self, role: Role, people: Callable[[Role], Groups]) -> frozenset[str]:
        """Digests of those who take part in the run: settled when it first asks, the same until it ends.

        Parameters
        ----------
        people
            The candidates for each role; asked for only when it is not settled yet.

        Raises
        ------
        SiteError
            If what was settled is damaged, or belongs to another study.
        """
        return frozenset(self._settled(people).of(role))

    def release(self, kind: Kind, people: People, what: str) -> None:
        """Put on record that something about these people leaves, who have the same modalities.

        Raises
        ------
        SiteError
            If they are too few, or too close to an earlier set (see `Releases`).
        """
        minimum = self.rules.minimum_people
        if len(people) < minimum:
            raise SiteError(SiteCode.COHORT_TOO_SMALL, f"{what}: {len(people)} people, minimum_people is {minimum}")
        with self._releases() as releases:
            recorded = releases.record(kind, self._members(people), minimum, what, self.run)
        if not recorded:
            raise SiteError(
                SiteCode.TOO_CLOSE_TO_EARLIER,
                f"{what}: these {len(people)} people and those of earlier releases differ by fewer than {minimum} "
                "(`normfed site releases` lists them). Somebody was added, taken away, exported anew, or corrected in "
                "participants.tsv since the run began, or could not be preprocessed: put them back, or begin a new "
                "run, which leaves out as many as it must.",
            )

    def members(self, people: People) -> list[Member]:
        """What stands for these people in the record, in their order."""
        return [Member(self._secret.digest(name), self._version(name, used)) for name, used in people.items()]

    def tell(self, choose: Choose) -> None:
        """Tell cells of statistics, and put on record over whom; see `Releases.tell`."""
        with self._releases() as releases:
            releases.tell(choose)

    def digest(self, person: str) -> str:
        """What stands for a person in the hospital's records."""
        return self._secret.digest(person)

    def noise_key(self, *names: str) -> bytes:
        """A key for noise; other names, another key."""
        return self._secret.noise_key(*names)

    def blocks(self) -> list[set[str]]:
        """Digests of the people by the releases that they were in (see `Releases`)."""
        with self._releases() as releases:
            found = blocks(releases.sets())
        return [{person for person, _ in block} for block in found.values()]

    @property
    def waiting(self) -> dict[str, int]:
        """Of each role: how many candidates do not take part in the run, for want of others."""
        return self._read().waiting if self._path.exists() else {}

    def _settled(self, people: Callable[[Role], Groups]) -> Members:
        if self._path.exists():
            return self._read()
        minimum, order = self.rules.minimum_people, lambda person: self._secret.lot(person, "waiting")
        found = {role: [self._members(group) for group in people(role)] for role in ROLES}
        with self._releases() as releases:
            if not releases.admit(self._recipe, self.rules.most_recipes, self.run):
                detail = f"most_recipes: scans were prepared in {self.rules.most_recipes} ways already"
                raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
            released, serial = list(releases.sets()), releases.serial()
        chosen: dict[Role, list[Member]] = {role: [] for role in ROLES}
        order_of_roles: tuple[Role, ...] = ("train", "test", "held_out")
        for role in order_of_roles:
            for group in found[role]:
                together = releasable(group, released, minimum, order)
                chosen[role] += together
                released += [together] if together else []
        train, held_out, test = (tuple(sorted(member.person for member in chosen[role])) for role in ROLES)
        waiting: dict[str, int] = {role: sum(map(len, found[role])) - len(chosen[role]) for role in ROLES}
        settled = Members(study=self._study, serial=serial, train=train, held_out=held_out, test=test, waiting=waiting)
        settled = settled.model_copy(update={"digest": settled.content()})
        write_text(self._path, settled.model_dump_json(indent=1) + "\n")
        self._path.chmod(0o600)
        return settled

    def _read(self) -> Members:
        try:
            found = Members.model_validate_json(self._path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            detail = f"{self._path}: damaged ({' '.join(str(error).split())}). Begin a new run."
            raise SiteError(SiteCode.RECORD_UNUSABLE, detail) from error
        if found.digest != found.content():
            raise SiteError(SiteCode.RECORD_UNUSABLE, f"{self._path}: damaged (its digest differs). Begin a new run.")
        if found.study != self._study:
            raise SiteError(SiteCode.STUDY_REFUSED, f"{self._path}: the run began with another study; a run has one.")
        return found

    def _members(self, people: People) -> list[Member]:
        return self.members(dict(sorted(people.items())))

    def _version(self, person: str, used: Sequence[str]) -> str:
        """Of all scans and masks of a person, by content, of age, sex and scanner, and of what a study uses of them."""
        if person not in self._contents:
            self._contents[person] = content_of(self._visits[person])
        return self._secret.digest("\n".join([self._contents[person], *sorted(used)]))

    @contextmanager
    def _releases(self) -> Iterator[Releases]:
        """The record; whatever is wrong with it means that nothing is released."""
        try:
            yield Releases(self._record, self._secret)
        except UserError as error:
            raise SiteError(SiteCode.RECORD_UNUSABLE, str(error)) from error


def newest_serial(state: Path) -> int:
    """The greatest serial of the record that any run in a hospital's folder ``state`` was settled with."""
    found = [0]
    for path in state.glob(f"*/{MEMBERS}"):
        with contextlib.suppress(OSError, ValueError, UnicodeDecodeError):  # a damaged one is refused by its own run
            found.append(Members.model_validate_json(path.read_text(encoding="utf-8")).serial)
    return max(found)


def content_of(visits: Sequence[Visit]) -> str:
    """A digest of scans and masks, and of what is said of the person: a sum of ages before and after one is corrected
    tells it, and one of scanners whose scan was counted to another."""
    found = hashlib.sha256()
    for visit in sorted(visits, key=lambda visit: visit.name):
        who = visit.participant
        found.update(f"{visit.name} {who.age} {who.sex} {who.scanner!r}\n".encode())
        masks = [mask.path for mask in visit.masks]
        for path in sorted({*visit.images.values(), *masks}):
            found.update(f"{visit.name} {digests.of_file(path)}\n".encode())
    return found.hexdigest()
