"""What is wrong with the files of a visit, found by opening every one."""

from __future__ import annotations

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.nifti import read, read_mask
from normfed_common.foundation.errors import ScanError


def faults(visit: Visit) -> list[str]:
    """One sentence a fault; none for a visit that a study can use."""
    found, images = [], {}
    for modality, path in visit.images.items():
        try:
            images[modality] = read(path)
        except ScanError as error:
            found.append(str(error))
    for mask in visit.masks:
        try:
            if mask.modality in images:
                read_mask(mask.path, images[mask.modality], mask is not visit.brain, mask.values)
        except ScanError as error:
            found.append(str(error))
    return found
