"""What is attacked: a run of a simulation, its people, and federations like it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from normfed_client.evaluating.served import served_arrays
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.device import choose_device
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.cache import default_root
from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.algorithms.arms import POOLED
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import assemble
from normfed_common.privacy.spending import Spending, spending
from normfed_server.runs.folder import Run, counts_only
from normfed_simulation.audit.federations import Federation, Training
from normfed_simulation.datasets.recognition import as_bids
from normfed_simulation.splits import dividing

Cases = Mapping[str, Sequence[Case]]  # by site


@dataclass(frozen=True)
class Options:
    """How hard an audit tries.

    Parameters
    ----------
    shadows
        Federations that are trained on random halves of the people.
    canaries
        Made-up people of the one-run audit.
    seed
        Of everything that the auditor draws.
    """

    shadows: int = 16
    canaries: int = 1000
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Candidate:
    """A person of whom an attack asks whether they trained: all visits, the earliest first."""

    name: str
    site: str
    visits: tuple[Case, ...]


@dataclass(frozen=True)
class Target:
    """See the module.

    Parameters
    ----------
    folder
        For federations that are trained.
    told
        Hears how far along things are.
    """

    run: Run
    data: Path
    sites: Mapping[str, Site]
    options: Options
    folder: Path
    told: Callable[[str], None] = field(default=lambda _text: None)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Whoever trained, and the held-out people of the sites that did."""
        found = []
        for name, site in self.sites.items():
            if site.train:
                found += _people(name, [*site.train, *site.held_out])
        return sorted(found, key=lambda person: (person.site, person.name))

    @cached_property
    def members(self) -> np.ndarray:
        """Which candidates trained, bool (candidates,)."""
        trained = {case.visit.participant.subject for site in self.sites.values() for case in site.train}
        return np.array([person.name in trained for person in self.candidates])

    @cached_property
    def unseen(self) -> list[Candidate]:
        """Healthy people of sites that did not train."""
        return [p for name, site in self.sites.items() if not site.train for p in _people(name, site.held_out)]

    @property
    def groups(self) -> np.ndarray:
        """The site of each candidate."""
        return np.array([person.site for person in self.candidates])

    @cached_property
    def arrays(self) -> Arrays:
        """What everybody gets of the run's model.

        Raises
        ------
        RunError
            If the run is not finished, or leaves no model that all sites share.
        """
        return served_arrays(self.run.folder, self.run.study, None)

    @cached_property
    def setting(self) -> Setting:
        """Of models that score scans here."""
        size, study = self.run.study.preprocessing.voxel_size_mm, self.run.study
        device = choose_device(self.options.device)
        return Setting.of(study, common_grid(size).shape, device, open_anatomy=partial(anatomy, size))

    def new(self) -> NormativeModel:
        """The study's model, as it begins."""
        return assemble(self.run.study.transforms, self.run.study.model, self.setting)

    def model(self, arrays: Arrays) -> NormativeModel:
        """The study's model with these arrays."""
        found = self.new()
        found.load(arrays)
        return found

    @property
    def private(self) -> bool:
        """Whether what leaves a site carries noise for its people."""
        return self.run.study.privacy.epsilon is not None

    @cached_property
    def spent(self) -> Spending | None:
        """With how much noise all that is learnt leaves a site; None where it leaves without."""
        return spending(self.run.study, self.new().phases())

    @cached_property
    def training(self) -> Training:
        """How federations are trained."""
        cache = next(iter(self.sites.values())).config.cache
        return Training(self.run, self.data, cache, self.folder, self.options.device)

    @cached_property
    def shadows(self) -> list[Federation]:
        """Federations of random people: every candidate is in each by a fair coin (seeded by the auditor).

        Where a coin leaves a site nobody, it does not train; nobody else of the dataset does.
        """
        names = [person.name for person in self.candidates]
        found = []
        for number in range(self.options.shadows):
            inside = seeds.generator(self.options.seed, "shadow", number).random(len(names)) < 0.5
            found.append(self.training.trained([n for n, into in zip(names, inside, strict=True) if not into]))
            self.told(f"shadow federation {number + 1} of {self.options.shadows}")
        return found

    def inside(self, federation: Federation) -> np.ndarray:
        """Which candidates trained in a federation, bool (candidates,)."""
        return np.array([person.name in federation.members for person in self.candidates])


@contextmanager
def opened(run: Run, data: Path | None, options: Options, told: Callable[[str], None]) -> Iterator[Target]:
    """A run to attack; federations that are trained meanwhile are thrown away.

    Raises
    ------
    RunError
        If it is not a finished run of a simulation, or its dataset is gone.
    """
    if not run.sites_file.exists():
        raise RunError(f"{run.folder}: has no sites.json, so it is no simulation on this machine: nobody to audit.")
    if counts_only(run.folder):
        raise RunError(f"{run.folder}: counted and trained nothing, so there is no model to attack.")
    if not run.finished:
        raise RunError(f"{run.folder}: is not finished. Finish it first: normfed simulate --resume {run.folder}")
    configs = [config for config in read_sites(run.sites_file) if config.name != POOLED]
    root = configs[0].data if data is None else dividing.view(as_bids(data, run.study), run.study, default_root())
    if not root.is_dir():
        raise RunError(f"{root}: is not there any more. Say where the dataset is with --data DIR.")
    sites = {config.name: Site(_audited(config, root, options.device), run.study) for config in configs}
    logging.getLogger("flwr").setLevel(logging.WARNING)
    with TemporaryDirectory(prefix="normfed-audit-") as folder:
        yield Target(run, root, sites, options, Path(folder), told)


def _audited(config: SiteConfig, data: Path, device: str) -> SiteConfig:
    return config.model_copy(update={"data": data.resolve(), "device": device})


def _people(site: str, cases: Sequence[Case]) -> list[Candidate]:
    visits: dict[str, list[Case]] = {}
    for case in cases:
        visits.setdefault(case.visit.participant.subject, []).append(case)
    return [Candidate(name, site, tuple(of)) for name, of in visits.items()]
