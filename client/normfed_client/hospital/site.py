"""One hospital's composition root: reads the site's own configuration once, hands objects to what runs below.

The site's configuration (paths, device) is the hospital's; the study (methods, parameters) comes with every request.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.custody import Custody
from normfed_client.hospital.demographics import Told, parts, told
from normfed_client.hospital.device import choose_device
from normfed_client.hospital.releases import Kind
from normfed_client.hospital.withdrawn import WithdrawnPeople
from normfed_client.imaging.bids import Problem, Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry, Unprepared
from normfed_client.imaging.cohort import PreparedCohort, Roles, assign, person_of, select
from normfed_client.imaging.labels import ILL, NO_LESION, carried
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.foundation.errors import PluginError, ReadError, ScanError, SiteCode, SiteError, UserError
from normfed_common.learning.cohort import Cohort, Scan, Unlabelled
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import DataConfig
from normfed_common.study.roles import ROLES, Role
from normfed_common.study.validation import validate

LONGEST_KINDS = 100  # characters, as a message holds them


@dataclass(frozen=True)
class Case:
    """A preprocessed visit in its role, and the kind of lesion that it shows."""

    visit: Visit
    entry: Entry
    kind: str

    def scan(self) -> Scan:
        """As a model sees it."""
        return self.entry.scan(person_of(self.visit))


def people_of(cases: Sequence[Case]) -> dict[str, list[str]]:
    """Whose visits these are, and which with which kinds of lesion."""
    found: dict[str, list[str]] = {}
    for case in cases:
        found.setdefault(case.visit.participant.subject, []).append(f"{case.visit.name} {case.kind}")
    return found


class Site:
    """One hospital taking part in one study."""

    def __init__(self, config: SiteConfig, study: StudyConfig) -> None:
        self.config, self.study = config, study
        self.device = choose_device(config.device)
        self.cache = Cache(config.cache)
        self.recipe = Recipe.of(study)
        self.problems: list[Problem] = []
        dataset = read_dataset(config.data, _withdrawn(config))
        # A hospital whose dataset holds nobody else's people need not name them.
        by_site = dataset.sites() if config.owns else {config.name: list(dataset.visits)}
        owned = {name: by_site.get(name, []) for name in config.owns or (config.name,)}
        everybody = [visit for visits in owned.values() for visit in visits]
        self.custody = None if config.custody is None else Custody(config.custody, study, everybody, config.output)
        roles = []
        for name, visits in owned.items():
            # A hospital is one site, whatever its own dataset calls its parts.
            member = config.name if self.custody else name
            chosen, left_out = select(self._allowed(visits), member, study.data)
            self.problems += left_out
            roles.append(assign(chosen, member, study, self.custody.lots if self.custody else None))
        self.roles = Roles(*(sum((getattr(r, part) for r in roles), ()) for part in ROLES))
        self._prepared: dict[str, Case | None] = {}
        self._protects = study.privacy.epsilon is not None

    @property
    def train(self) -> list[Case]:
        """Normal people to learn from, in a fixed order."""
        return self._members("train")

    @property
    def held_out(self) -> list[Case]:
        """Normal people kept from training."""
        return self._members("held_out")

    @property
    def test(self) -> list[Case]:
        """People with lesions."""
        return self._members("test")

    @property
    def training_people(self) -> int:
        """How many people there are to learn from, however many scans each has."""
        return len(people_of(self.train))

    @property
    def minimum(self) -> int:
        """How many people any training, sum or figure is about at least: the study's number, or the hospital's."""
        ours = self.custody.rules.minimum_people if self.custody else 0
        return max(self.study.federation.minimum_cohort, ours)

    @property
    def told_together(self) -> int:
        """How many people any number inside a figure is about at least; 1 in a simulation, which hides nothing."""
        return self.minimum if self.custody else 1

    def training_cohort(self, openable: bool = False) -> PreparedCohort:
        """The cohort to learn from.

        Where people are protected it has everybody, whether their scans can be prepared or not: how many there are is
        told, and must not depend on what is in one person's scans. Whose scans cannot be opened adds nothing.

        Parameters
        ----------
        openable
            Only those whose scans can be opened: for what stays here.

        Raises
        ------
        SiteError
            If there are fewer people than the minimum.
        """
        people = self.training_people
        if not people and not self.custody:
            raise SiteError(SiteCode.NO_TRAINING_SUBJECTS)
        if people < self.minimum:
            raise SiteError(SiteCode.COHORT_TOO_SMALL, f"{people} people to train on")
        used = _openable(self.train, but_nobody=openable)
        return PreparedCohort([(case.visit, case.entry) for case in used], known=self.demographics())

    def unseen_cohort(self) -> tuple[Cohort, list[Case]]:
        """Of a site with nobody to train on: those from whom the study lets transforms learn what is the site's own,
        and their scans; nobody, where they are fewer than the minimum."""
        whom = self.study.data.adapt_unseen
        groups = {"nobody": (), "held-out": (self.held_out,), "everybody": (self.held_out, self.test)}[whom]
        cases = [case for group in groups if len(people_of(group)) >= self.minimum for case in group]
        cohort = PreparedCohort([(case.visit, case.entry) for case in cases])
        return Unlabelled(cohort) if whom == "everybody" else cohort, cases

    def release(self, kind: Kind, cases: Sequence[Case], what: str) -> None:
        """Something about these people is about to leave; see `normfed_client.hospital.releases`.

        Raises
        ------
        SiteError
            If a hospital must not release it.
        """
        if self.custody is not None:
            for people in self.groups(cases).values() or [{}]:
                self.custody.release(kind, people, what)

    def try_release(self, kind: Kind, cases: Sequence[Case], what: str) -> bool:
        """Put on record that something about these people leaves; False if it must not."""
        try:
            self.release(kind, cases, what)
        except SiteError as error:
            if error.code in (SiteCode.COHORT_TOO_SMALL, SiteCode.TOO_CLOSE_TO_EARLIER):
                return False
            raise
        return True

    def demographics(self) -> dict[str, Told] | None:
        """Ages and sexes as a hospital tells them, of those who were in the same releases, with the same modalities."""
        if self.custody is None:
            return None
        known: dict[str, Told] = {}
        participants = {case.visit.participant.subject: case.visit.participant for case in self.train}
        for group in self.groups(self.train).values():
            digests = {self.custody.digest(name): name for name in group}
            for part in parts(digests, self.custody.blocks()):
                known |= told([participants[digests[one]] for one in part], self.minimum)
        return known

    def model(self, entry: dict[str, Any], seed: int) -> NormativeModel:
        """A model of a study entry behind the study's transforms, ready for this site's device.

        Parameters
        ----------
        seed
            Of the training that it belongs to: the study's, or that of one of its repeats.
        """
        return assemble(self.study.transforms, entry, replace(self.setting, seed=seed))

    @property
    def setting(self) -> Setting:
        """What models must know of the study and the site."""
        size = self.study.preprocessing.voxel_size_mm
        setting = Setting.of(self.study, common_grid(size).shape, self.device, open_anatomy=partial(anatomy, size))
        return replace(setting, told_together=self.told_together)

    def groups(self, cases: Sequence[Case]) -> dict[tuple[tuple[str, ...], ...], dict[str, list[str]]]:
        """People with their visits, by the modalities of the study that they have at each visit (see `Groups`).

        Not by those that they have at any: of ten people one may have all at the same visit, and what is learnt of all
        together is about that one.
        """
        had: dict[str, set[tuple[str, ...]]] = {}
        for case in cases:
            present = tuple(m for m in self.study.data.modalities if m in case.visit.images)
            had.setdefault(case.visit.participant.subject, set()).add(present)
        apart: dict[tuple[tuple[str, ...], ...], list[Case]] = {}
        for case in cases:
            apart.setdefault(tuple(sorted(had[case.visit.participant.subject])), []).append(case)
        return {visits: people_of(group) for visits, group in sorted(apart.items())}

    def _allowed(self, visits: list[Visit]) -> list[Visit]:
        """Whom the hospital itself does not exclude."""
        if self.custody is None:
            return visits
        return [visit for visit in visits if visit.participant.subject not in self.custody.rules.exclude]

    def _members(self, role: Role) -> list[Case]:
        """The usable scans of a role; in a hospital of those who take part in the run."""
        cases = self.cases(role)
        if self.custody is None:
            return cases
        members = self.custody.taking_part(role, lambda other: list(self.groups(self.cases(other)).values()))
        return [case for case in cases if self.custody.digest(case.visit.participant.subject) in members]

    def cases(self, role: Role) -> list[Case]:
        """The usable scans of a role, of those too who do not take part in the run."""
        visits = getattr(self.roles, role)
        # How long opening scans takes must not tell whether there is anybody of whom nothing may be told.
        if self.custody is not None and len({visit.participant.subject for visit in visits}) < self.minimum:
            return []
        found = [(visit, self._case(visit)) for visit in visits]
        if role == "train" and self._protects:
            return [
                case or Case(visit, Unprepared(Path(), f"{visit.name}: cannot be prepared"), NO_LESION)
                for visit, case in found
            ]
        return [case for _, case in found if case is not None]

    def _case(self, visit: Visit) -> Case | None:
        known = self._prepared.get(visit.name)
        # A cache that was deleted under a site that stays open is made again.
        if visit.name not in self._prepared or (known is not None and not known.entry.folder.is_dir()):
            try:
                entry = prepare(visit, self.recipe, self.cache)
                self._prepared[visit.name] = Case(visit, entry, _kind(visit, entry, self.study.data))
            except ScanError as error:
                problem = Problem(visit.name, str(error))
                if problem not in self.problems:
                    self.problems.append(problem)
                if isinstance(error, ReadError):  # the next time it may be read
                    return None
                self._prepared[visit.name] = None
        return self._prepared[visit.name]


def _withdrawn(config: SiteConfig) -> Container[str]:
    """Who withdrew; nobody in a simulation."""
    if config.custody is None:
        return ()
    try:
        return WithdrawnPeople.read(config.custody.people_secret, config.custody.record)
    except UserError as error:
        raise SiteError(SiteCode.RECORD_UNUSABLE, str(error)) from error


def _openable(cases: Sequence[Case], but_nobody: bool) -> list[Case]:
    """Those that can be opened; of whoever has none the first one that cannot, if not ``but_nobody``."""
    found = [case for case in cases if not isinstance(case.entry, Unprepared)]
    if but_nobody or len(found) == len(cases):
        return found
    stand = {case.visit.participant.subject: case for case in reversed(cases)}
    there = {case.visit.participant.subject for case in found}
    kept = {id(case) for case in (*found, *(case for name, case in stand.items() if name not in there))}
    return [case for case in cases if id(case) in kept]


def _kind(visit: Visit, entry: Entry, data: DataConfig) -> str:
    """The kinds of lesion that a scan has a voxel of, joined; of people who are ill without one their group."""
    voxels = entry.meta()["lesion_voxels_by_label"]
    group = visit.participant.group
    ill = (carried(group) or ILL) if group in data.ill_groups else NO_LESION
    return ("+".join(sorted(label for label, count in voxels.items() if count)) or ill)[:LONGEST_KINDS]


@lru_cache(maxsize=256)  # a site is small: names and paths; opening one reads a dataset's index
def site_for(config: SiteConfig, study_json: str, _plugins: tuple[tuple[str, str], ...] = ()) -> Site:
    """A hospital in a study as it came with a request.

    Parameters
    ----------
    _plugins
        That are let in: once others are, the study is read anew.

    Raises
    ------
    SiteError
        If the study is not one that this version can run.
    PluginError
        If it needs a plug-in that is not let in, or cannot be used.
    """
    try:
        raw = json.loads(study_json)
        study = resolve(raw, "request")
    except PluginError:
        raise
    except Exception as error:
        raise SiteError(SiteCode.STUDY_REFUSED, str(error)) from error
    if config.custody is not None and study != validate(StudyConfig, raw, "request"):
        # People here decided on what the text says, not on what a version fills in.
        raise SiteError(
            SiteCode.STUDY_REFUSED, "the request's study leaves out what its models' defaults would fill in"
        )
    return Site(config, study)
