"""A run from its study to its report: begun or taken up again, then brought to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from normfed_client.hospital.device import choose_device
from normfed_common.study.config import StudyConfig
from normfed_server.runs import folder
from normfed_server.runs.folder import Run
from normfed_simulation import experiment, study_data
from normfed_simulation.conditions import Conditions, conditions_of
from normfed_simulation.datasets.recognition import together_as_bids
from normfed_simulation.experiment import Engine
from normfed_simulation.run_folder import discarded_if_refused
from normfed_simulation.watcher import Watcher


@dataclass(frozen=True)
class Means:
    """What a run is computed with; the figures do not depend on it.

    Parameters
    ----------
    engine
        Who carries the messages.
    device
        auto, cpu, cuda, or cuda:1 for the second GPU.
    workers
        Processes; 0 does all the work in this one, None takes one per core.
    """

    engine: Engine = "local"
    device: str = "auto"
    workers: int | None = None

    def check(self) -> int:
        """Refuse what this machine or this process cannot do.

        Returns
        -------
        How many worker processes there will be.

        Raises
        ------
        UserError
            See `choose_device` and `worker_count`.
        """
        choose_device(self.device)
        return experiment.worker_count(self.workers)


@dataclass(frozen=True)
class Begun:
    """A run that has a folder, and what it is to be finished with.

    Parameters
    ----------
    data
        The dataset; None where the study has it made.
    workers
        Processes; 0 where all the work is done in this one.
    """

    run: Run
    data: Path | None
    means: Means
    workers: int


@dataclass(frozen=True)
class Started(Begun):
    """A run that trains and tests.

    Parameters
    ----------
    fresh
        Whether nothing was there before, so that nothing is left if the study is refused.
    """

    conditions: Conditions
    fresh: bool

    def finish(self, watcher: Watcher) -> Path:
        """Run it to its end, with its report and a paper's tables and figures; returns the report's path.

        Raises
        ------
        UserError
            If the study cannot be run here, or the data or the run do not allow it.
        """
        means = self.means
        with discarded_if_refused(self.run) if self.fresh else contextlib.nullcontext():
            return experiment.simulate(
                self.run, self.data, means.engine, means.device, self.workers, watcher, self.conditions, paper=True
            )


def begin(study: StudyConfig, data: Sequence[Path], out: Path, means: Means, conditions: Conditions) -> Started:
    """Make the run folder of a study, once all is checked that can be without preparing a scan.

    Parameters
    ----------
    data
        Datasets: BIDS with sites, or public ones as they came. Empty for a study that has its own made.

    Raises
    ------
    UserError
        If the study cannot be run here, or the data do not allow it; then nothing is left.
    """
    workers = means.check()
    root = together_as_bids(data, study)
    experiment.check(study, root, conditions)
    return Started(folder.begin(study, out), root, means, workers, conditions, fresh=True)


def resume(run: Path, data: Sequence[Path], means: Means) -> Started:
    """Take up an interrupted run.

    Parameters
    ----------
    data
        Where its datasets are now, if they have moved.

    Raises
    ------
    UserError
        If there is nothing to take up, or the data do not allow it any more.
    """
    workers = means.check()
    opened = folder.reopen(run)
    folder.refuse_links(run)
    experiment.check_resumable(opened)
    before = study_data.data_of(opened)
    root = together_as_bids(data or ([before] if before else []), opened.study)
    conditions = conditions_of(opened)
    experiment.check(opened.study, root, conditions)
    return Started(opened, root, means, workers, conditions, fresh=False)
