"""How much of a person's brain is lesion, by the masks as they are."""

from __future__ import annotations

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.nifti import volume_ml


def lesion_ml(visit: Visit) -> float:
    """Volume of all lesion masks of a visit, in ml; 0 without any.

    Raises
    ------
    ScanError
        If a mask cannot be read.
    """
    return sum(lesion_ml_by_kind(visit).values())


def lesion_ml_by_kind(visit: Visit) -> dict[str, float]:
    """The same by kind of lesion; those of which there is a mask.

    Raises
    ------
    ScanError
        If a mask cannot be read.
    """
    found: dict[str, float] = {}
    for mask in visit.lesions:
        found[mask.label] = found.get(mask.label, 0.0) + volume_ml(mask.path, mask.values)
    return found
