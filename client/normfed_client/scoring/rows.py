"""What came of scoring: a row for every person and session, and where the maps are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["scored", "failed"]
SCORED: Status = "scored"
FAILED: Status = "failed"


@dataclass(frozen=True)
class PersonScore:
    """One person at one session.

    Parameters
    ----------
    participant_id
        ``sub-X``, as the folder is called.
    session
        ``ses-X``; None where there is none.
    reason
        Why there is no score: one sentence; empty where there is one.
    subject_score
        98 % quantile of the anomaly in the brain; None where the person was not scored, as all figures below.
    abnormal_share
        Of the brain's voxels; None where the run has no threshold on its maps' scale, as the two below.
    clusters, largest_cluster_ml
        How many are listed, and the volume of the largest; 0 and None of none.
    brain
        Where the brain mask is from: ``given``, ``template``, or what found it.
    sources
        The names of the scans, without their folders.
    remarks
        Of the model, on this scan, a sentence each.
    map, p_map, cluster_table
        Paths of what was written.
    """

    participant_id: str
    session: str | None
    status: Status
    reason: str = ""
    subject_score: float | None = None
    abnormal_share: float | None = None
    clusters: int | None = None
    largest_cluster_ml: float | None = None
    brain: str | None = None
    sources: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    map: Path | None = None
    p_map: Path | None = None
    cluster_table: Path | None = None

    @property
    def name(self) -> str:
        """``sub-X`` or ``sub-X_ses-Y``."""
        return "_".join(filter(None, (self.participant_id, self.session)))

    def as_json(self) -> dict[str, Any]:
        """All of it, paths as text."""
        return {
            key: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for key, value in vars(self).items()
        }


@dataclass(frozen=True)
class Scores:
    """Everybody whom a call of `score_inputs` was about, in the order of their names; ``out`` is the dataset."""

    out: Path
    people: tuple[PersonScore, ...]
    notes: tuple[str, ...] = ()

    @property
    def scored(self) -> tuple[PersonScore, ...]:
        """Those with maps."""
        return tuple(person for person in self.people if person.status == SCORED)

    @property
    def failed(self) -> tuple[PersonScore, ...]:
        """Those without."""
        return tuple(person for person in self.people if person.status == FAILED)
