"""One hospital's composition root: reads the site's own configuration once, hands objects to what runs below.

The site's configuration (paths, device) is the hospital's; the study (methods, parameters) comes with every request.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from pydantic import Field, ValidationError

from normfed_client.imaging.bids import Problem, Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry
from normfed_client.imaging.cohort import PreparedCohort, Roles, assign, kind, select
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import common_grid
from normfed_common.errors import DatasetError, ScanError, SiteCode, SiteError
from normfed_common.models.base import NormativeModel, Setting
from normfed_common.models.catalogue import build
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import SiteName
from normfed_common.study.load import resolve

DEVICE = r"^(auto|cpu|cuda(:\d+)?)$"
SITES_VARIABLE = "NORMFED_SITES"  # a JSON file with the configurations of all sites on this machine (simulation)


class SiteConfig(Frozen):
    """What a hospital decides for itself."""

    name: SiteName
    data: Path = Field(description="the BIDS dataset")
    owns: tuple[str, ...] = Field(description="values of the column `site` that are this hospital's; all when empty")
    cache: Path = Field(description="folder for preprocessed scans")
    output: Path = Field(description="folder for anomaly maps, per-person figures and logs; never leaves")
    device: str = Field("auto", pattern=DEVICE)


class SitesFile(Frozen):
    """All sites of one machine."""

    sites: tuple[SiteConfig, ...]


@dataclass(frozen=True)
class Scan:
    """A preprocessed visit in its role."""

    visit: Visit
    entry: Entry
    kind: str


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
        roles = []
        for owned in config.owns or (config.name,):
            chosen, left_out = select(by_site.get(owned, []), study.data)
            self.problems += left_out
            roles.append(assign(chosen, owned, study))
        self.roles = Roles(*(sum((getattr(r, part) for r in roles), ()) for part in ("train", "held_out", "test")))
        self._prepared: dict[str, Scan | None] = {}

    @property
    def train(self) -> list[Scan]:
        """Normal people to learn from, in a fixed order."""
        return self._scans(self.roles.train)

    @property
    def held_out(self) -> list[Scan]:
        """Normal people kept from training."""
        return self._scans(self.roles.held_out)

    @property
    def test(self) -> list[Scan]:
        """People with lesions."""
        return self._scans(self.roles.test)

    @property
    def training_people(self) -> int:
        """How many people there are to learn from, however many scans each has."""
        return len({scan.visit.participant.subject for scan in self.train})

    def training_cohort(self) -> PreparedCohort:
        """The cohort to learn from.

        Raises
        ------
        SiteError
            If there are fewer people than the study's minimum.
        """
        people = self.training_people
        if not people:
            raise SiteError(SiteCode.NO_TRAINING_SUBJECTS)
        if people < self.study.federation.minimum_cohort:
            raise SiteError(SiteCode.COHORT_TOO_SMALL, f"{people} people to train on")
        return PreparedCohort([scan.entry for scan in self.train])

    def model(self, entry: dict[str, object]) -> NormativeModel:
        """A model of a study entry, ready for this site's device."""
        return build(entry, self.setting)

    @property
    def setting(self) -> Setting:
        """What models must know of the study and the site."""
        shape = common_grid(self.study.preprocessing.voxel_size_mm).shape
        data, preprocessing = self.study.data, self.study.preprocessing
        return Setting(data.modalities, preprocessing.voxel_size_mm, shape, self.study.seed, self.device)

    def _scans(self, visits: tuple[Visit, ...]) -> list[Scan]:
        return [scan for scan in map(self._scan, visits) if scan is not None]

    def _scan(self, visit: Visit) -> Scan | None:
        if visit.name not in self._prepared:
            try:
                entry = prepare(visit, self.recipe, self.cache)
                self._prepared[visit.name] = Scan(visit, entry, kind(visit, self.study.data))
            except ScanError as error:
                self.problems.append(Problem(visit.name, str(error)))
                self._prepared[visit.name] = None
        return self._prepared[visit.name]


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
        return SitesFile.model_validate_json(path.read_text()).sites
    except (OSError, ValidationError) as error:
        raise DatasetError(f"{path}: not a list of sites ({error}).") from error


def write_sites(path: Path, sites: tuple[SiteConfig, ...]) -> None:
    """Write what `read_sites` reads."""
    path.write_text(SitesFile(sites=sites).model_dump_json(indent=1))


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
