"""Run a study on this machine from start to end: data, preprocessing, federation, report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from normfed_client.hospital.rules import CustodyConfig
from normfed_client.imaging.bids import Dataset, Problem, Visit, read_dataset
from normfed_client.imaging.cache import default_root
from normfed_client.imaging.lots import Lots
from normfed_client.training.objectives import objective_of
from normfed_common.algorithms.sharing import check_study
from normfed_common.foundation.errors import DatasetError, HarmonizationError, RunError, StudyError
from normfed_common.foundation.registry import tried_out
from normfed_common.study.config import StudyConfig
from normfed_server.arms import virtual_clock as pace
from normfed_server.runs.at_work import at_work
from normfed_server.runs.folder import REPORT, Run, counts_only
from normfed_server.steps.catalogue import check_steps
from normfed_simulation import hospital_times, patients, site_logs, study_data
from normfed_simulation import run_folder as runs
from normfed_simulation.attacks import Tampering
from normfed_simulation.conditions import Conditions, remember
from normfed_simulation.paper.writing import write_paper
from normfed_simulation.taking_part import check_groups, check_plan, roles_of
from normfed_simulation.watcher import Watcher

if TYPE_CHECKING:
    from normfed_simulation.engines.local import Tamper

Engine = Literal["local", "ray"]
MOST_WORKERS = 64  # by default: no more than sites are of use


def simulate(
    run: Run,
    data: Path | None,
    engine: Engine,
    device: str,
    workers: int,
    watcher: Watcher,
    conditions: Conditions = Conditions(),
    *,
    paper: bool = False,
) -> Path:
    """Run a study in its folder, or finish it; returns the report's path: a run that has one has all else.

    Parameters
    ----------
    paper
        Whether it gets tables and figures for a paper.

    Raises
    ------
    UserError
        If the study cannot be run here, or the data or the run do not allow it.
    """
    _check_study(run.study)
    with at_work(run.folder):
        root, names, problems = prepared(run.study, data, workers, watcher, conditions)
        remember(run, conditions)
        patients.remember_left_out(run, problems)
        if conditions.hospital_times and pace.load(run.folder) is None:
            pace.save(run.folder, hospital_times.draw(names, run.study.seed))
        tamper = Tampering(conditions.attacks, run.study.seed) if conditions.attacks else None
        with watcher.training(run):
            federate(run, root, names, default_root() / "scans", device, engine, workers, tamper, conditions.custody)
        runs.link_maps(run)
        if paper:
            write_paper(run)
        return patients.report(run)


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
    root = study_data.ready(study, data, cache, workers, watcher)
    people, problems = _taking_part(study, read_dataset(root), conditions)
    return root, list(people), [*problems, *study_data.prepare(study, people, cache, workers, watcher)]


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
    check_each((study,), data, conditions, lots)


def check_each(
    studies: Sequence[StudyConfig], data: Path | None, conditions: Conditions = Conditions(), lots: Lots | None = None
) -> list[HarmonizationError | None]:
    """`check` of studies that differ in their transforms, and not in their data: these are read once.

    Returns
    -------
    Per study, why its transforms cannot be learnt from these people; None where they can.

    Raises
    ------
    UserError
        If a study cannot be run here, the data do not allow it, or the first one's transforms cannot be learnt.
    """
    for study in studies:
        _check_study(study)
    dataset = study_data.foreseen(studies[0], data)
    if dataset is None:
        return [None] * len(studies)
    _taking_part(studies[0], dataset, conditions, lots)
    return [None, *(_not_harmonizable(study, dataset, conditions, lots) for study in studies[1:])]


def _not_harmonizable(
    study: StudyConfig, dataset: Dataset, conditions: Conditions, lots: Lots | None
) -> HarmonizationError | None:
    try:
        _taking_part(study, dataset, conditions, lots)
    except HarmonizationError as error:
        return error
    return None


def _check_study(study: StudyConfig) -> None:
    check_study(study)
    check_steps(study)
    for strategy in (study.strategy, *study.comparisons.strategies):
        objective_of(strategy)


def _taking_part(
    study: StudyConfig, dataset: Dataset, conditions: Conditions, lots: Lots | None = None
) -> tuple[dict[str, list[Visit]], list[Problem]]:
    """By site that takes part, the visits that have a role; and what is left out."""
    roles, problems = roles_of(study, dataset, lots)
    strangers = sorted(set(conditions.attacks) - set(roles))
    if strangers:
        raise DatasetError(f"--attack: no site called {', '.join(strangers)}. Sites are {', '.join(roles)}.")
    check_groups(study, dataset)
    if not conditions.custody:  # otherwise hospitals divide their people themselves
        check_plan(study, roles, dataset)
    return {name: list(of.everybody()) for name, of in roles.items()}, problems


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


def worker_count(asked: int | None) -> int:
    """The worker processes that were asked for, or one per core.

    On a single core there are none, the work is done here; nor where something is tried out, which only this process
    knows.

    Raises
    ------
    StudyError
        If workers are asked for all the same.
    """
    here = tried_out()
    if asked and here:
        raise StudyError(f"{', '.join(here)}: tried out in this process, which workers do not know. Give workers=0.")
    if asked is not None:
        return asked
    return 0 if here or cores() < 2 else min(cores(), MOST_WORKERS)


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
        page = run.folder / REPORT
        do = f"Look at {page}." if page.exists() else f"Only its report is missing: normfed report {run.folder}"
        raise RunError(f"{run.folder}: already finished. {do}")
