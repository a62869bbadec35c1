"""Synthetic people to try things on, as a BIDS dataset."""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.cache import default_root
from normfed_simulation import experiment, study_data
from normfed_simulation.api.calls import Study, asked
from normfed_simulation.api.progress import watching
from normfed_simulation.api.wording import spoken_in_python
from normfed_simulation.watcher import Watcher


@spoken_in_python
def example_data(study: Study = "demo", *, progress: bool | Watcher = True) -> Path:
    """The synthetic people of a study as a BIDS dataset in the cache, made where it is not there yet.

    `normfed cache prune` may take it away.

    Parameters
    ----------
    study
        As in `simulate`; by default the demo's six hospitals, 94 people with T1w and FLAIR, about half a minute.

    Raises
    ------
    UserError
        If the study has no dataset made.
    """
    with watching(progress) as watcher:
        return study_data.make_dataset(asked(study, {}), default_root(), experiment.worker_count(None), watcher)
