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
    return sum(volume_ml(mask.path) for mask in visit.lesions)
