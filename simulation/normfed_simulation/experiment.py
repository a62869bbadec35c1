"""Run a study on this machine from start to end: data, preprocessing, federation, report."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from normfed_client.hospital.rules import CustodyConfig
from normfed_client.hospital.simulated import read_sites
from normfed_client.imaging.bids import Dataset, Problem, Visit, read_dataset
from normfed_client.imaging.cache import default_root
from normfed_client.imaging.cohort import Lots
from normfed_client.imaging.preparation import prepare_all
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.training.objectives import objective_of
from normfed_common.algorithms.sharing import check_study
from normfed_common.foundation.errors import DatasetError, RunError
from normfed_common.foundation.files import write_json
from normfed_common.study.config import StudyConfig
from normfed_server.arms import virtual_clock as pace
from normfed_server.report.cohorts import write_cohorts
from normfed_server.runs.folder import Run, counts_only
from normfed_server.steps.catalogue import check_steps
from normfed_simulation import hospital_times, patients, site_logs
from normfed_simulation import run_folder as runs
from normfed_simulation.attacks import Attack, Tampering
from normfed_simulation.datasets import view
from normfed_simulation.datasets.base import Dataset as NamedDataset
from normfed_simulation.datasets.catalogue import place_of
from normfed_simulation.run_folder import CONDITIONS
from normfed_simulation.splits import dividing
from normfed_simulation.taking_part import check_plan, roles_of

if TYPE_CHECKING:
    from normfed_simulation.engines.local import Tamper

Engine = Literal["local", "ray"]


class Watcher(Protocol):
    """Shows a person, or a program, how far along things are."""

    def begin(self, what: str, total: int) -> None:
        """A step with ``total`` parts begins."""
        ...

    def advance(self, what: str, detail: str = "") -> None:
        """One part is done."""
        ...

    def warn(self, text: str) -> None:
        """Something to know; the study goes on."""
        ...

    def training(self, run: Run) -> contextlib.AbstractContextManager[None]:
        """Watch the federation while the context lasts."""
        ...


@dataclass(frozen=True)
class Conditions:
    """What a simulation does to a federation beside its study.

    Parameters
    ----------
    hospital_times
        Whether answers arrive by the clocks of real hospitals (virtually: nobody waits).
    attacks
        Malicious sites, and what each does.
    custody
        Sites at which a hospital's own rules hold, as they would deployed.
    """

    hospital_times: bool = False
    attacks: Mapping[str, Attack] = field(default_factory=dict)
    custody: Mapping[str, CustodyConfig] = field(default_factory=dict)


def simulate(
    run: Run,
    data: Path | None,
    engine: Engine,
    device: str,
    workers: int,
    watcher: Watcher,
    conditions: Conditions = Conditions(),
) -> Path:
    """Run a study in its folder, or finish it; returns the report's path.

    Raises
    ------
    UserError
        If the study cannot be run here, or the data or the run do not allow it.
    """
    _check_study(run.study)
    root, names, problems = prepared(run.study, data, workers, watcher, conditions)
    write_json(run.folder / CONDITIONS, {"attacks": conditions.attacks})
    if conditions.hospital_times and pace.load(run.folder) is None:
        pace.save(run.folder, hospital_times.draw(names, run.study.seed))
    tamper = Tampering(conditions.attacks, run.study.seed) if conditions.attacks else None
    with watcher.training(run):
        federate(run, root, names, default_root() / "scans", device, engine, workers, tamper, conditions.custody)
    runs.link_maps(run)
    return patients.report(run, [(p.what, p.why) for p in problems])


def prepared(
    study: StudyConfig, data: Path | None, workers: int, watcher: Watcher, conditions: Conditions = Conditions()
) -> tuple[Path, list[str], list[Problem]]:
    """The study's dataset, made where it is to be made, with the scans of whoever has a role preprocessed in the cache.

    Returns
    -------
    The dataset, the sites that take part, and who is left out and why.

    Raises
    ------
    UserError
        If the data do not allow the study.
    """
    cache = default_root()
    root = ready(study, data, cache, workers, watcher)
    people, problems = _taking_part(study, read_dataset(root), conditions)
    return root, list(people), [*problems, *_prepare(study, people, cache, workers, watcher)]


def count(run: Run, data: Path | None, engine: Engine, device: str, workers: int, watcher: Watcher) -> Path:
    """Ask the sites of a study for their cohorts in figures, and train nothing; returns the page's path.

    Raises
    ------
    UserError
        If the study or the data do not allow it.
    """
    cache = default_root()
    root = ready(run.study, data, cache, workers, watcher)
    roles, _ = roles_of(run.study, read_dataset(root))
    _prepare(run.study, {name: list(of.everybody()) for name, of in roles.items()}, cache, workers, watcher)
    with watcher.training(run):
        federate(run, root, list(roles), cache / "scans", device, engine, workers)
    return write_cohorts(run)


def federate(
    run: Run,
    data: Path,
    names: list[str],
    cache: Path,
    device: str,
    engine: Engine = "local",
    workers: int = 0,
    tamper: Tamper | None = None,
    custody: Mapping[str, CustodyConfig] | None = None,
) -> None:
    """Train and evaluate the models of a study whose dataset lies ready.

    Parameters
    ----------
    names
        The sites that take part.
    cache
        Of preprocessed scans.
    tamper
        See `LocalGrid`.

    Raises
    ------
    UserError
        If the study cannot be run here, or the data do not allow it.
    """
    runs.write_site_configs(run, data, names, cache, device, custody or {})
    with _kept_environment(), site_logs.quoted(run.folder):
        _engine(engine)(run.folder, run.sites_file, _count(run, names), workers, tamper)
    runs.forget_sums(run)


def check_count(study: StudyConfig, data: Path | None) -> None:
    """Whether `count` can begin, as far as it shows before anything is made.

    Raises
    ------
    UserError
        If not.
    """
    dataset = _foreseen(study, data)
    if dataset is not None:
        roles_of(study, dataset)


def check(
    study: StudyConfig, data: Path | None, conditions: Conditions = Conditions(), lots: Lots | None = None
) -> None:
    """Whether `simulate` can begin, as far as it shows before anything is made, so that what is refused leaves nothing.

    Parameters
    ----------
    lots
        Of hospitals that divide their people themselves; see `assign`.

    Raises
    ------
    UserError
        If the study cannot be run here, or the data do not allow it.
    """
    _check_study(study)
    dataset = _foreseen(study, data)
    if dataset is not None:
        _taking_part(study, dataset, conditions, lots)


def _foreseen(study: StudyConfig, data: Path | None) -> Dataset | None:
    """What the study will read, under its split; None where that shows only once it is made."""
    if data is not None:
        dataset: Dataset | None = read_dataset(data)
    else:
        made, place = _made_dataset(study)
        dataset = made.planned(default_root() / place)
    return None if dataset is None else dividing.foreseen(dataset, study)


def _check_study(study: StudyConfig) -> None:
    check_study(study)
    check_steps(study)
    for strategy in (study.strategy, *study.comparisons.strategies):
        objective_of(strategy)


def conditions_of(run: Run) -> Conditions:
    """What the run began under; it finds hospital times by itself.

    Raises
    ------
    RunError
        If the run does not say any more.
    """
    path = run.folder / CONDITIONS
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["attacks"]
        return Conditions(attacks={site: Attack(name) for site, name in said.items()})
    except FileNotFoundError:
        return Conditions()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: damaged ({error}). Remove it if no site was malicious, or begin a new run.") from error


def ready(study: StudyConfig, data: Path | None, cache: Path, workers: int, watcher: Watcher) -> Path:
    """The dataset that a study reads: the one given or the one it has made, under its split.

    Raises
    ------
    UserError
        If there is none, or it cannot be made or divided.
    """
    root = data if data is not None else make_dataset(study, cache, workers, watcher)
    return dividing.view(root, study, cache)


def make_dataset(study: StudyConfig, cache: Path, workers: int, watcher: Watcher) -> Path:
    """The dataset that the study has made, in the cache; made only where it is not there yet.

    Raises
    ------
    UserError
        If the study names none, or it cannot be made.
    """
    dataset, place = _made_dataset(study)
    root = cache / place
    if not dataset.written(root):
        watcher.begin(dataset.what, dataset.parts())
        dataset.write(root, workers, lambda name: watcher.advance(dataset.what, name))
    return root


def _made_dataset(study: StudyConfig) -> tuple[NamedDataset, Path]:
    found = place_of(study)
    if found is None:
        raise DatasetError(
            "The study names no phantom, so it needs a dataset: add --data DIR (a BIDS dataset, or a "
            "public one as it came)."
        )
    return found


def data_of(run: Run) -> Path | None:
    """The dataset that the run began with; None where the study had it made, and it is found by its content."""
    if not run.sites_file.exists():
        return None
    data = scans_of(run)
    if view.sources_of(data):
        return data
    found = place_of(run.study)
    return None if found is not None and dividing.source_of(data).parts[-3:] == found[1].parts else data


def scans_of(run: Run) -> Path:
    """The dataset of a run that has begun, wherever it came from."""
    return read_sites(run.sites_file)[0].data


def _taking_part(
    study: StudyConfig, dataset: Dataset, conditions: Conditions, lots: Lots | None = None
) -> tuple[dict[str, list[Visit]], list[Problem]]:
    """By site that takes part, the visits that have a role; and what is left out."""
    roles, problems = roles_of(study, dataset, lots)
    strangers = sorted(set(conditions.attacks) - set(roles))
    if strangers:
        raise DatasetError(f"--attack: no site called {', '.join(strangers)}. Sites are {', '.join(roles)}.")
    if not conditions.custody:  # otherwise hospitals divide their people themselves
        check_plan(study, roles)
    return {name: list(of.everybody()) for name, of in roles.items()}, problems


def _prepare(
    study: StudyConfig, people: Mapping[str, list[Visit]], cache: Path, workers: int, watcher: Watcher
) -> tuple[Problem, ...]:
    """Preprocess whoever has a role; returns what cannot be."""
    visits = [visit for of_site in people.values() for visit in of_site]
    watcher.begin("Preprocessing", len(visits))
    recipe = Recipe.of(study)

    def told(visit: Visit, failure: str | None) -> None:
        watcher.advance("Preprocessing", visit.name)
        if failure:
            watcher.warn(f"Left out: {failure}")

    return tuple(prepare_all(visits, recipe, cache / "scans", workers, told).problems)


def _count(run: Run, names: list[str]) -> int:
    return len(names) + (1 if run.study.comparisons.pooled else 0)


def _engine(name: Engine) -> Callable[[Path, Path, int, int, Tamper | None], None]:
    if name == "ray":
        from normfed_simulation.engines import ray

        return ray.run
    from normfed_simulation.engines import local

    return local.run


@contextlib.contextmanager
def _kept_environment() -> Iterator[None]:
    """Engines tell the apps through the environment where things are; afterwards it is as before."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def default_workers(sites: int) -> int:
    """One process per core, at most one per site; on a single core none, the work is done here."""
    return 0 if cores() < 2 else min(cores(), sites)


def cores() -> int:
    """Of this machine, as far as this process may use them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_resumable(run: Run) -> None:
    """Refuse to resume what is finished, or trains nothing.

    Raises
    ------
    RunError
        If the run has all its figures, or only counts.
    """
    if counts_only(run.folder):
        raise RunError(f"{run.folder}: counts and trains nothing. Begin it again: normfed statistics STUDY")
    if run.finished:
        raise RunError(f"{run.folder}: already finished. Look at {run.folder / 'report.html'}.")
