"""Score new scans from Python, as a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path

import pandas

from normfed_client.imaging.bids import Problem
from normfed_client.scoring.rows import PersonScore
from normfed_client.scoring.scoring import ScoreListener, score_inputs
from normfed_common.study.withdrawn import read as read_withdrawn
from normfed_simulation.api.opened import OpenRun
from normfed_simulation.api.places import Place, Places, paths
from normfed_simulation.api.progress import watching
from normfed_simulation.api.wording import as_called, spoken_in_python
from normfed_simulation.watcher import Watcher

WHAT = "Scoring"
COLUMNS = list(PersonScore.__dataclass_fields__)
RENAMED = {"participant_id": "subject", "map": "anomaly_map", "p_map": "p_value_map"}  # a frame has a method called map


@spoken_in_python
def score(
    run: OpenRun | Place,
    inputs: Places = (),
    *,
    out: Place,
    brain_masks: Places = (),
    modalities: Mapping[str, Place] | None = None,
    device: str = "auto",
    site: str | None = None,
    progress: bool | Watcher = True,
) -> pandas.DataFrame:
    """Make anomaly maps of new scans with the model of a run: `normfed score`.

    Parameters
    ----------
    run
        An open run, or its folder.
    inputs
        Scans, folders of scans, BIDS datasets.
    out
        Folder that becomes a dataset of BIDS derivatives.
    brain_masks
        Of one person, or of several by their BIDS names. Those beside scans by their names are found.
    modalities
        Scans of one person by modality, whose names need say nothing: ``{"T1w": ..., "FLAIR": ...}``.
    site
        Whose model, where sites have models of their own.

    Returns
    -------
    A row for every person and session, those who could not be scored too: ``status`` is `scored` or `failed`, and
    ``reason`` says why; ``anomaly_map``, ``p_value_map`` and ``cluster_table`` are paths. ``subject`` and ``session``
    are as in the other frames; ``subject_score`` is the 98 % quantile of the anomaly in the brain, ``abnormal_share``
    the share of its voxels, ``clusters`` how many there are and ``largest_cluster_ml`` the volume of the largest;
    ``brain`` is where the mask is from, ``sources`` the names of the scans, ``remarks`` what the model says. What else
    is to be known, such as that somebody withdrew from the run, is in ``attrs["notes"]``.

    Raises
    ------
    UserError
        If the run cannot be used, nothing is found to score, or ``out`` cannot be written to.
    """
    folder = run.folder if isinstance(run, OpenRun) else Path(run)
    named = {modality: Path(path) for modality, path in (modalities or {}).items()}
    withdrawn = read_withdrawn(folder).sentences()
    with watching(progress) as watcher:
        for sentence in withdrawn:
            watcher.warn(sentence)
        scores = score_inputs(
            folder,
            paths(inputs),
            Path(out),
            brain_masks=paths(brain_masks),
            modalities=named,
            device=device,
            site=site,
            listener=_Told(watcher),
        )
    rows = [[getattr(row, name) for name in COLUMNS] for row in scores.people]
    frame = pandas.DataFrame(rows, columns=COLUMNS).rename(columns=RENAMED)
    frame["reason"] = [as_called(row.reason, PARAMETERS) for row in scores.people]
    frame["session"] = [None if row.session is None else row.session.removeprefix("ses-") for row in scores.people]
    frame.attrs["notes"] = [*withdrawn, *scores.notes]
    return frame


PARAMETERS = frozenset(signature(score).parameters)


class _Told(ScoreListener):
    """Tells a watcher of people as of the parts of any step."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def noted(self, notes: Sequence[Problem]) -> None:
        """See the base class."""
        for note in notes:
            self._watcher.warn(f"{note.what}: {note.why}")

    def begun(self, people: int, refused: Sequence[PersonScore]) -> None:
        """See the base class."""
        self._watcher.begin(WHAT, people)
        for row in refused:
            self._watcher.warn(as_called(row.reason, PARAMETERS))

    def done(self, row: PersonScore) -> None:
        """See the base class."""
        self._watcher.advance(WHAT, row.name)
        for text in (as_called(row.reason, PARAMETERS), *row.remarks):
            if text:
                self._watcher.warn(text if row.name in text else f"{row.name}: {text}")
