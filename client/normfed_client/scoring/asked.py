"""Somebody who is to be scored, and everybody of whom that is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from normfed_client.imaging.bids import Problem, Visit
from normfed_client.scoring.file_names import label_of
from normfed_client.scoring.rows import FAILED, PersonScore


@dataclass(frozen=True)
class Asked:
    """A visit that is to be scored.

    Parameters
    ----------
    named
        Its scans that were named, one at least.
    dataset
        The BIDS dataset that it is of.
    """

    visit: Visit
    named: tuple[Path, ...]
    dataset: Path | None = None

    @property
    def participant_id(self) -> str:
        """``sub-X``, as BIDS allows it."""
        return label_of(self.visit.participant.subject)

    @property
    def session(self) -> str | None:
        """``ses-X``."""
        return f"ses-{self.visit.session}" if self.visit.session else None

    def failed(self, reason: str) -> PersonScore:
        """The row of somebody who was not scored."""
        sources = tuple(path.name for _, path in sorted(self.visit.images.items()))
        return PersonScore(self.participant_id, self.session, FAILED, reason, sources=sources)


@dataclass
class Gathered:
    """Who is to be scored, who cannot be and why, and what else should be known of the inputs."""

    asked: list[Asked]
    refused: list[PersonScore]
    notes: list[Problem]
