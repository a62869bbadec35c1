"""How large a patient's lesions are, and how much is called abnormal: figures that stay at the site."""

from __future__ import annotations

from typing import Any

from normfed_common.metrics import segmentation
from normfed_common.metrics.base import ScoredScan

DIGITS = 6  # of millilitres: less than a voxel


def volumes_of(scan: ScoredScan) -> dict[str, Any]:
    """What stands in a row of people's figures beside the metrics; none of it is summed, and none of it leaves.

    Returns
    -------
    ``lesion_ml``: of all lesions as they were drawn by hand; ``lesion_share``: of the evaluated voxels those that are
    lesion; ``found_ml``: of all voxels at or above their threshold;
    ``lesions``: of every lesion, the largest first, ``ml`` and whether one of the ten most suspicious clusters hits it.
    """
    millilitres = scan.voxel_size_mm**3 / 1000
    lesions = segmentation.each_lesion(*scan.clusters, scan.lesion[scan.box])
    return {
        "lesion_ml": round(int(scan.lesion.sum()) * millilitres, DIGITS),
        "lesion_share": float(scan.lesion[scan.mask].mean()),
        "found_ml": round(int(scan.abnormal.sum()) * millilitres, DIGITS),
        "lesions": [{"ml": round(voxels * millilitres, DIGITS), "found": found} for voxels, found in lesions],
    }
