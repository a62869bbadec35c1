"""One hospital's composition root: reads the site's own configuration once, hands objects to what runs below.

The site's configuration (paths, device) is the hospital's; the study (methods, parameters) comes with every request.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from normfed_client.hospital.config import DEVICE, SiteConfig
from normfed_client.hospital.custody import Custody
from normfed_client.hospital.releases import Kind
from normfed_client.imaging.bids import Problem, Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry
from normfed_client.imaging.cohort import NO_LESION, PreparedCohort, Roles, assign, select
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import common_grid
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import DatasetError, ReadError, ScanError, SiteCode, SiteError
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import build
from normfed_common.privacy.cubes import averaged
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.study.roles import ROLES, Role

SITES_VARIABLE = "NORMFED_SITES"  # a JSON file with the configurations of all sites on this machine (simulation)
_SITES = TypeAdapter(tuple[SiteConfig, ...])


@dataclass(frozen=True)
class Scan:
    """A preprocessed visit in its role."""

    visit: Visit
    entry: Entry
    kind: str


def people_of(scans: Sequence[Scan]) -> dict[str, list[str]]:
    """Whose scans these are, and which visits with which kinds of lesion."""
    found: dict[str, list[str]] = {}
    for scan in scans:
        found.setdefault(scan.visit.participant.subject, []).append(f"{scan.visit.name} {scan.kind}")
    return found


class Site:
    """One hospital taking part in one study."""

    def __init__(self, config: SiteConfig, study: StudyConfig) -> None:
        self.config, self.study = config, study
        self.device = choose_device(config.device)
        self.cache = Cache(config.cache)
        self.recipe = Recipe(study.preprocessing, study.data.modalities, study.data.lesion_labels)
        self.problems: list[Problem] = []
        dataset = read_dataset(config.data)
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
        self._prepared: dict[str, Scan | None] = {}

    @property
    def train(self) -> list[Scan]:
        """Normal people to learn from, in a fixed order."""
        return self._members("train")

    @property
    def held_out(self) -> list[Scan]:
        """Normal people kept from training."""
        return self._members("held_out")

    @property
    def test(self) -> list[Scan]:
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

    def training_cohort(self) -> PreparedCohort:
        """The cohort to learn from.

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
        return PreparedCohort([scan.entry for scan in self.train])

    def release(self, kind: Kind, scans: Sequence[Scan], what: str) -> None:
        """Something about these people is about to leave; see `normfed_client.hospital.releases`.

        Raises
        ------
        SiteError
            If a hospital must not release it.
        """
        if self.custody is not None:
            self.custody.release(kind, people_of(scans), what)

    def try_release(self, kind: Kind, scans: Sequence[Scan], what: str) -> bool:
        """Put on record that something about these people leaves; False if it must not."""
        try:
            self.release(kind, scans, what)
        except SiteError as error:
            if error.code in (SiteCode.COHORT_TOO_SMALL, SiteCode.TOO_CLOSE_TO_EARLIER):
                return False
            raise
        return True

    def cohort_of_places(self) -> PreparedCohort:
        """The cohort to learn sums per place from: of tissue that enough people have at the same place.

        At a voxel that one person alone has tissue, the sum over all people is that person's. So is the difference of
        two sums, if of those who are in one of them alone, one has tissue there. Hence every block of people (see
        `Releases`) has nobody or at least the minimum with normal tissue at a voxel, or nothing of it is told. People
        whose scans are not at hand are taken to have all that the template has.
        """
        if self.custody is None:
            return self.training_cohort()
        grid = common_grid(self.study.preprocessing.voxel_size_mm)
        at_hand: dict[str, list[Entry]] = {}
        for scan in self._scans("train"):
            at_hand.setdefault(self.custody.digest(scan.visit.participant.subject), []).append(scan.entry)
        told = np.ones(grid.brain.size, bool)
        for block in self.custody.blocks():
            people = np.where(grid.brain.ravel(), len(block - at_hand.keys()), 0)
            for person in block & at_hand.keys():
                has = np.zeros(grid.brain.size, bool)
                for entry in at_hand[person]:
                    has[entry.volume().normal_index] = True
                people += has
            told &= (people == 0) | (people >= self.minimum)
        return PreparedCohort([scan.entry for scan in self.train], told)

    def coarsened(self, model: NormativeModel, stage: str, sums: Arrays) -> tuple[Arrays, tuple[str, ...]]:
        """Sums as they may leave: those per voxel over few people as means of cubes; and a note that says so."""
        places = model.places(stage)
        if self.custody is None or places is None:
            return sums, ()
        rules = self.custody.rules
        if self.training_people >= rules.minimum_people_per_voxel or places.edge_mm >= rules.cube_mm:
            return sums, ()
        note = (
            f"Sums per voxel left as means of cubes of {rules.cube_mm:g} mm: they are over fewer people than the "
            f"{rules.minimum_people_per_voxel} asked for by the site."
        )
        return averaged(sums, places, rules.cube_mm), (note,)

    def model(self, entry: dict[str, object]) -> NormativeModel:
        """A model of a study entry, ready for this site's device."""
        return build(entry, self.setting)

    @property
    def setting(self) -> Setting:
        """What models must know of the study and the site."""
        shape = common_grid(self.study.preprocessing.voxel_size_mm).shape
        data, preprocessing = self.study.data, self.study.preprocessing
        size, values = preprocessing.voxel_size_mm, preprocessing.value_range
        return Setting(data.modalities, size, shape, self.study.seed, self.device, values)

    def _allowed(self, visits: list[Visit]) -> list[Visit]:
        """Whom the hospital itself does not exclude."""
        if self.custody is None:
            return visits
        return [visit for visit in visits if visit.participant.subject not in self.custody.rules.exclude]

    def _members(self, role: Role) -> list[Scan]:
        """The usable scans of a role; in a hospital of those who take part in the run."""
        scans = self._scans(role)
        if self.custody is None:
            return scans
        members = self.custody.taking_part(role, lambda other: people_of(self._scans(other)))
        return [scan for scan in scans if self.custody.digest(scan.visit.participant.subject) in members]

    def _scans(self, role: Role) -> list[Scan]:
        visits = getattr(self.roles, role)
        # How long opening scans takes must not tell whether there is anybody of whom nothing may be told.
        if self.custody is not None and len({visit.participant.subject for visit in visits}) < self.minimum:
            return []
        return [scan for scan in map(self._scan, visits) if scan is not None]

    def _scan(self, visit: Visit) -> Scan | None:
        known = self._prepared.get(visit.name)
        # A cache that was deleted under a site that stays open is made again.
        if visit.name not in self._prepared or (known is not None and not known.entry.folder.is_dir()):
            try:
                entry = prepare(visit, self.recipe, self.cache)
                self._prepared[visit.name] = Scan(visit, entry, _kind(entry))
            except ScanError as error:
                problem = Problem(visit.name, str(error))
                if problem not in self.problems:
                    self.problems.append(problem)
                if isinstance(error, ReadError):  # the next time it may be read
                    return None
                self._prepared[visit.name] = None
        return self._prepared[visit.name]


def _kind(entry: Entry) -> str:
    """The kinds of lesion that a scan has a voxel of, joined."""
    voxels = entry.meta()["lesion_voxels_by_label"]
    return "+".join(sorted(label for label, count in voxels.items() if count)) or NO_LESION


def choose_device(name: str) -> torch.device:
    """The device to compute on; `auto` takes CUDA where there is one.

    Raises
    ------
    DatasetError
        If there is no such device, or CUDA is asked for and there is none.
    """
    if not re.fullmatch(DEVICE, name):
        raise DatasetError(f"device {name}: not known. Use --device auto, cpu, cuda, or cuda:1 for the second card.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DatasetError(f"device {name}: this machine has no usable CUDA device. Use --device auto or cpu.")
    if name.startswith("cuda:") and int(name.removeprefix("cuda:")) >= torch.cuda.device_count():
        raise DatasetError(f"device {name}: this machine has {torch.cuda.device_count()}, counted from cuda:0.")
    return torch.device(name)


def read_sites(path: Path) -> tuple[SiteConfig, ...]:
    """Read the configurations of all sites on this machine."""
    try:
        return _SITES.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DatasetError(f"{path}: not a list of sites ({error}).") from error


def write_sites(path: Path, sites: tuple[SiteConfig, ...]) -> None:
    """Write what `read_sites` reads."""
    path.write_bytes(_SITES.dump_json(sites, indent=1))


def open_site(partition: int, study_json: str) -> Site:
    """The site that this process plays, for a study as it came with a request.

    Raises
    ------
    SiteError
        If the study is not one that this version can run.
    """
    sites = os.environ.get(SITES_VARIABLE)
    if sites is None:
        raise SiteError(SiteCode.INTERNAL, f"the environment has no {SITES_VARIABLE}")
    return site_for(read_sites(Path(sites))[partition], study_json)


@lru_cache(maxsize=256)  # a site is small: names and paths; opening one reads a dataset's index
def site_for(config: SiteConfig, study_json: str) -> Site:
    """A hospital in a study as it came with a request.

    Raises
    ------
    SiteError
        If the study is not one that this version can run.
    """
    try:
        study = resolve(json.loads(study_json), "request")
    except Exception as error:
        raise SiteError(SiteCode.STUDY_REFUSED, str(error)) from error
    return Site(config, study)
