"""How much of patients' brains is called abnormal beside how much is lesion: known of single patients alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

MOSTLY_FALSE = 2.0  # times the lesion: of what is called abnormal half, at least, is none


@dataclass(frozen=True)
class Volume:
    """Over patients, each with a lesion.

    Parameters
    ----------
    lesion_ml, found_ml
        Medians, on the common grid: of all lesions, by their masks; of all voxels at or above the run's threshold.
    patients
        How many.
    mostly_false
        Of how many of them half of what is called abnormal, or more, is no lesion.
    """

    lesion_ml: float
    found_ml: float
    patients: int
    mostly_false: int

    @classmethod
    def of(cls, patients: Sequence[tuple[float, float]]) -> Volume:
        """Of each patient's lesion and what was called abnormal, in ml."""
        lesions, found = zip(*patients, strict=True)
        false = sum(called >= MOSTLY_FALSE * lesion for lesion, called in patients)
        return cls(median(lesions), median(found), len(patients), false)


@dataclass(frozen=True)
class Volumes:
    """Of the federated model.

    Parameters
    ----------
    all
        Over all patients; None where nobody knows them.
    sites
        Over each site's.
    """

    all: Volume | None = None
    sites: Mapping[str, Volume] = field(default_factory=dict)
