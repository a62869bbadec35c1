"""Ask the sites of a study for their cohorts in figures, before anything is trained."""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import default_root
from normfed_common.study.config import StudyConfig
from normfed_server.report.cohorts import write_cohorts
from normfed_server.runs.folder import Run
from normfed_simulation import study_data
from normfed_simulation.experiment import Engine, federate
from normfed_simulation.taking_part import roles_of
from normfed_simulation.watcher import Watcher


def count(run: Run, data: Path | None, engine: Engine, device: str, workers: int, watcher: Watcher) -> Path:
    """Ask the sites of a study for their cohorts in figures, and train nothing; returns the page's path.

    Raises
    ------
    UserError
        If the study or the data do not allow it.
    """
    cache = default_root()
    root = study_data.ready(run.study, data, cache, workers, watcher)
    roles, _ = roles_of(run.study, read_dataset(root))
    study_data.prepare(run.study, {name: list(of.everybody()) for name, of in roles.items()}, cache, workers, watcher)
    with watcher.training(run):
        federate(run, root, list(roles), cache / "scans", device, engine, workers)
    return write_cohorts(run)


def check(study: StudyConfig, data: Path | None) -> None:
    """Whether `count` can begin, as far as it shows before anything is made.

    Raises
    ------
    UserError
        If not.
    """
    dataset = study_data.foreseen(study, data)
    if dataset is not None:
        roles_of(study, dataset)
