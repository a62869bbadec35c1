"""How much of patients' brains is called abnormal beside how much is lesion: known of single patients alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Volume:
    """Medians over patients, in millilitres on the common grid.

    Parameters
    ----------
    lesion_ml
        Of all lesions, by their masks.
    called_ml
        Of all voxels at or above the run's threshold.
    """

    lesion_ml: float
    called_ml: float


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
