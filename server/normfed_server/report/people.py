"""Single people as a report shows them: only whoever may open the sites' own folders, a simulation, has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from normfed_common.metrics.cluster_list import Cluster


class Strip(Protocol):
    """Slices of a map in a row: a picture as a ``data:`` address, and the scores at which its colours begin and end."""

    @property
    def picture(self) -> str: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


@dataclass(frozen=True)
class PatientRow:
    """A patient's visit.

    Parameters
    ----------
    lesion_ml
        On the common grid.
    share
        Of the voxels that are ranked, those of the lesion: what average precision is by chance.
    figures
        Of the federated model, by metric; what is not defined is not there.
    baseline
        Average precision of the best trivial baseline.
    detected
        How many of the lesions a cluster touches: ``found``, ``missed``, ``3 of 12``, or their share where ``lesions``
        is None; empty where that is not known.
    lesions
        Those that are touched, and how many there are; None of a run from before they were kept.
    """

    site: str
    name: str
    kind: str
    age: float | None
    sex: str | None
    lesion_ml: float
    share: float
    figures: dict[str, float]
    baseline: float | None
    detected: str
    lesions: tuple[int, int] | None = None


@dataclass(frozen=True)
class PicturedMap:
    """A model's map of one person, and what there is to say of it beside its name."""

    title: str
    strip: Strip
    figures: str


@dataclass(frozen=True)
class PicturedCase:
    """One person's pictures and figures.

    Parameters
    ----------
    about
        Kind of lesion, age and sex, as far as they are known.
    detected
        What was found of the lesions; empty where the run has no threshold on the scale of its maps.
    share
        Of the brain, that is lesion: what average precision is by chance; None where there is none.
    scans
        By modality.
    threshold
        Of the federated model's map; None where the run has none on the scale of its maps.
    clusters
        None where it has none.
    remarks
        Of the model on the scan, see `Score`.
    ill
        Whether it is a patient, and not somebody healthy.
    """

    title: str
    name: str
    site: str
    about: str
    detected: str
    figures: dict[str, float]
    share: float | None
    scans: list[tuple[str, str]]
    maps: list[PicturedMap]
    projections: str
    threshold: float | None
    clusters: list[Cluster] | None
    remarks: tuple[str, ...] = ()
    ill: bool = True
