"""Run a study once per harmonization: one after another here, or several at the same time in processes of their own.

What is finished is not run again; a harmonization that fails says why, and the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import NormfedError
from normfed_common.foundation.files import write_text
from normfed_common.processes.workers import WorkerPool
from normfed_common.study.config import StudyConfig
from normfed_simulation import experiment
from normfed_simulation.domain_shift.folder import ShiftFolder, resume
from normfed_simulation.domain_shift.layout import Scanners
from normfed_simulation.domain_shift.people import healthy, scanners
from normfed_simulation.experiment import Engine
from normfed_simulation.run_folder import discarded_if_refused
from normfed_simulation.watcher import Silent, Watcher

HEALTHY = "Healthy people"
BESIDE_EACH_OTHER = "Harmonizations"


@dataclass(frozen=True)
class Means:
    """What a study is run with on this machine.

    Parameters
    ----------
    workers
        Processes of one run; 0 does all its work in its own.
    parallel
        Runs at the same time.
    """

    data: Path | None
    engine: Engine
    device: str
    workers: int
    parallel: int


Shown = Callable[[str], AbstractContextManager[Watcher]]


def run_all(folder: ShiftFolder, means: Means, shown: Shown) -> dict[str, str]:
    """Finish every harmonization; returns why those have failed that did.

    Parameters
    ----------
    shown
        Makes whoever shows how far along a harmonization of that name is.

    Raises
    ------
    UserError
        If the data do not allow the study.
    """
    waiting = [name for name in folder.shift.studies if not finished(folder, name)]
    if means.parallel > 1 and len(waiting) > 1:
        return _beside_each_other(folder, waiting, means, shown)
    failed = {}
    for name in waiting:
        with shown(name) as watcher:
            try:
                run_one(folder, name, means, watcher)
            except NormfedError as error:
                failed[name] = str(error)
                watcher.warn(f"{name} failed: {error}")
    return failed


def run_one(folder: ShiftFolder, name: str, means: Means, watcher: Watcher) -> None:
    """Finish the run of a harmonization, and look at its healthy people.

    Raises
    ------
    NormfedError
        If it cannot be finished.
    """
    run = folder.run(name)
    if not run.finished or not (run.folder / "report.html").exists():
        with discarded_if_refused(run):
            experiment.simulate(run, means.data, means.engine, means.device, means.workers, watcher)
    if kept_scanners(folder, name) is None:
        people = healthy(run)
        watcher.begin(HEALTHY, sum(len(cases) for _, cases in people))
        found = scanners(run, people, partial(watcher.advance, HEALTHY))
        write_text(folder.scanners_file(name), found.model_dump_json(indent=1) + "\n")


def finished(folder: ShiftFolder, name: str) -> bool:
    """Whether there is nothing left to do for a harmonization."""
    return (folder.run_folder(name) / "report.html").exists() and kept_scanners(folder, name) is not None


def kept_scanners(folder: ShiftFolder, name: str) -> Scanners | None:
    """What `run_one` found of the healthy people; None where it did not get there, or the file is damaged."""
    try:
        return Scanners.model_validate_json(folder.scanners_file(name).read_bytes())
    except (OSError, ValidationError):
        return None


def _beside_each_other(folder: ShiftFolder, waiting: list[str], means: Means, shown: Shown) -> dict[str, str]:
    failed = {}
    count = min(means.parallel, len(waiting))
    with shown(BESIDE_EACH_OTHER) as watcher:
        # Once, before several do the same at the same time.
        experiment.prepared(folder.shift.study, means.data, means.workers * count, watcher)
        watcher.begin(BESIDE_EACH_OTHER, len(waiting))
        with WorkerPool(f"{__name__}:in_worker", count) as pool:
            jobs = {pool.submit(partial(_job, folder, name, means)): name for name in waiting}
            for job in as_completed(jobs):
                name = jobs[job]
                try:
                    why = job.result().decode()
                except NormfedError as error:  # the process was killed
                    why = str(error)
                if why:
                    failed[name] = why
                    watcher.warn(f"{name} failed: {why}")
                watcher.advance(BESIDE_EACH_OTHER, name)
    return failed


def _job(folder: ShiftFolder, name: str, means: Means) -> bytes:
    said = {
        "folder": str(folder.path.resolve()),
        "name": name,
        "data": None if means.data is None else str(means.data.resolve()),
        "engine": means.engine,
        "device": means.device,
        "workers": means.workers,
    }
    return json.dumps(said).encode()


def in_worker(job: bytes) -> bytes:
    """Run one harmonization in a process of its own; returns why it failed, and nothing otherwise."""
    said = json.loads(job)
    data = None if said["data"] is None else Path(said["data"])
    means = Means(data, said["engine"], said["device"], said["workers"], 1)
    try:
        run_one(resume(Path(said["folder"])), said["name"], means, Silent())
    except NormfedError as error:
        return str(error).encode()
    return b""


def sites_of(study: StudyConfig, data: Path | None) -> int:
    """How many sites take part, or may, as far as it shows before anything is made; 1 where it does not."""
    if study.data.sites is not None:
        return len(study.data.sites)
    if data is not None:
        return len(read_dataset(data).sites())
    return 1 if study.data.phantom is None else len(study.data.phantom.sites)


def shared_out(cores: int, sites: int, waiting: int) -> tuple[int, int]:
    """Runs at the same time, and workers of each: a run cannot use more than one per site."""
    parallel = max(1, min(waiting, cores // max(sites, 1)))
    each = cores // parallel
    return parallel, 0 if each < 2 else min(each, sites)
