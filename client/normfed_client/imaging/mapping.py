"""Anomaly maps back on the scan that a radiologist opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.nifti import Image, read, write_like
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.imaging.registration import resample
from normfed_client.imaging.template import common_grid
from normfed_common.learning.score import ANOMALY

SHOWN = (50, 99.8)  # percentiles of the map in the brain that a viewer shows as black and as white


def scan_affine(entry: Entry, voxel_size_mm: int) -> np.ndarray:
    """From voxels of the common grid to the world of the person's reference scan in mm, RAS, (4, 4)."""
    found: np.ndarray = np.array(entry.meta()["to_reference"]) @ common_grid(voxel_size_mm).affine
    return found


def write_map(
    values: np.ndarray,
    visit: Visit,
    entry: Entry,
    recipe: Recipe,
    folder: Path,
    name: str = ANOMALY,
    outside: float = 0.0,
) -> Path:
    """Write a map of the common grid onto the grid of the person's reference scan, as NIfTI that overlays on it.

    The header says how to show it: the quieter half of the brain as black as the background, the rest up to white; of a
    map that is not 0 outside the brain it leaves the choice to the viewer.

    Parameters
    ----------
    outside
        What the map is where there is no brain.
    """
    reference = recipe.reference(visit)
    native = read(visit.images[reference])
    to_reference = np.array(entry.meta()["to_reference"])
    grid = common_grid(recipe.config.voxel_size_mm)
    source = Image(values, grid.affine, native.path)
    on_scan = resample(source, np.linalg.inv(to_reference), native.data.shape, native.affine, outside=outside)
    path = folder / f"{visit.name}_space-{reference}_desc-{name}_map.nii.gz"
    shows = outside == 0 and (on_scan > 0).any()
    low, high = np.percentile(on_scan[on_scan > 0], SHOWN) if shows else (0.0, 0.0)
    write_like(path, on_scan, native.path, f"normfed {name} map", (float(low), float(high)))
    return path
