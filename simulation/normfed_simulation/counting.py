"""Ask the sites of a study for their cohorts in figures, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import default_root
from normfed_common.study.config import StudyConfig
from normfed_server.report.cohorts import write_cohorts
from normfed_server.runs import folder
from normfed_simulation import study_data
from normfed_simulation.datasets.recognition import together_as_bids
from normfed_simulation.experiment import federate
from normfed_simulation.run_folder import discarded_if_refused
from normfed_simulation.started import Begun, Means
from normfed_simulation.taking_part import roles_of
from normfed_simulation.watcher import Watcher


class StartedStatistics(Begun):
    """A run that trains nothing: it asks for cohorts in figures."""

    def finish(self, watcher: Watcher) -> Path:
        """Ask the sites for their cohorts in figures; returns the page's path.

        Raises
        ------
        UserError
            If the study or the data do not allow it.
        """
        run, means, cache = self.run, self.means, default_root()
        with discarded_if_refused(run):
            root = study_data.ready(run.study, self.data, cache, self.workers, watcher)
            roles, _ = roles_of(run.study, read_dataset(root))
            people = {name: list(of.everybody()) for name, of in roles.items()}
            study_data.prepare(run.study, people, cache, self.workers, watcher)
            with watcher.training(run):
                federate(run, root, list(roles), cache / "scans", means.device, means.engine, self.workers)
            return write_cohorts(run)


def begin(study: StudyConfig, data: Sequence[Path], out: Path, means: Means) -> StartedStatistics:
    """Make the run folder, once all is checked that can be without preparing a scan.

    Raises
    ------
    UserError
        If the cohorts cannot be asked for here, or the data do not allow it; then nothing is left.
    """
    workers = means.check()
    root = together_as_bids(data, study)
    dataset = study_data.foreseen(study, root)
    if dataset is not None:
        roles_of(study, dataset)
    return StartedStatistics(folder.begin(study, out, {"statistics": True}), root, means, workers)
