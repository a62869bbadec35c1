"""What a scan's file holds inside the brain, before anything is done to it: the numbers that its scanner made.

The brain is the one that preprocessing found, carried back to the scan's own voxels. Kept in the cache of scans, as
carrying it to another modality than the reference takes a registration.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from normfed_client.hospital.site import Case, Site
from normfed_client.imaging import registration
from normfed_client.imaging.cache import META
from normfed_client.imaging.mapping import place_on
from normfed_client.imaging.nifti import Image, read
from normfed_common.foundation import digests
from normfed_common.foundation.errors import ScanError
from normfed_common.statistics.tables import Table

VERSION = 1  # of this file's arithmetic


def raw_shares(site: Site, case: Case, modality: str, table: Table) -> np.ndarray:
    """The share (bins,) of the brain's voxels in each bin; float64, they add up to 1.

    Raises
    ------
    ScanError
        If the file cannot be read any more, or shows no brain.
    """

    def build(folder: Path) -> None:
        counts = binned(_inside(site, case, modality), table)
        (folder / META).write_text(json.dumps({"counts": counts.tolist()}))

    made_of = {"raw": VERSION, "scan": case.entry.folder.name, "modality": modality, "edges": table.edges}
    counts = np.array(site.cache.get_or_build(digests.of_json(made_of), build).meta()["counts"], float)
    return counts / counts.sum()


def binned(values: np.ndarray, table: Table) -> np.ndarray:
    """How many of the values are in each bin (bins,); numbers below the first edge are in the first."""
    places = np.maximum(np.searchsorted(table.edges, values, side="right") - 1, 0)
    return np.bincount(places, minlength=len(table.bins))


def _inside(site: Site, case: Case, modality: str) -> np.ndarray:
    """The voxels (n,) of the brain."""
    place = place_on(case.visit, case.entry, site.recipe, modality)
    scan = read(place.path)
    brain = Image(case.entry.mask().astype(np.float32), place.grid.affine, Path("brain"))
    there = registration.resample(brain, np.linalg.inv(place.to_scan), scan.data.shape, scan.affine) > 0.5
    if not there.any():
        raise ScanError(f"{case.visit.name}: no brain in {modality} ({scan.path.name}). Is it the same person's?")
    return np.asarray(scan.data[there])
