"""Anomaly maps back on the scan that a radiologist opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from normfed_client.imaging import registration
from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.nifti import Image, image_like, read, write
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.imaging.template import Grid, common_grid
from normfed_common.learning.score import ANOMALY

SHOWN = (50, 99.8)  # percentiles of the map in the brain that a viewer shows as black and as white


@dataclass(frozen=True)
class ScanPlace:
    """One of a visit's scans, and where the common grid lies on it.

    Parameters
    ----------
    to_scan
        From the world of the common grid to the world of the scan in mm, RAS, (4, 4).
    """

    modality: str
    path: Path
    grid: Grid
    to_scan: np.ndarray

    @property
    def affine(self) -> np.ndarray:
        """From voxels of the common grid to the world of the scan in mm, RAS, (4, 4)."""
        found: np.ndarray = self.to_scan @ self.grid.affine
        return found


def place_on(visit: Visit, entry: Entry, recipe: Recipe, modality: str | None = None) -> ScanPlace:
    """Where the common grid lies on one of a visit's scans; on the reference scan when no modality is given.

    Another scan of a visit is registered to the reference, as it was when the visit was prepared.
    """
    reference = recipe.reference(visit)
    chosen = modality or reference
    matrix = np.array(entry.meta()["to_reference"])
    if chosen != reference and not visit.in_template_space:
        matrix = registration.rigid(read(visit.images[reference]), read(visit.images[chosen])) @ matrix
    return ScanPlace(chosen, visit.images[chosen], common_grid(recipe.config.voxel_size_mm), matrix)


def map_image(values: np.ndarray, place: ScanPlace, name: str = ANOMALY, outside: float = 0.0) -> nibabel.Nifti1Image:
    """A map of the common grid on the grid of one of a visit's scans, as NIfTI that overlays on it.

    The header says how to show it: the quieter half of the brain as black as the background, the rest up to white; of a
    map that is not 0 outside the brain it leaves the choice to the viewer.

    Parameters
    ----------
    values
        On the common grid.
    outside
        What the map is where there is no brain.
    """
    native = read(place.path)
    source = Image(values, place.grid.affine, native.path)
    from_scan = np.linalg.inv(place.to_scan)
    on_scan = registration.resample(source, from_scan, native.data.shape, native.affine, outside=outside)
    shows = outside == 0 and (on_scan > 0).any()
    low, high = np.percentile(on_scan[on_scan > 0], SHOWN) if shows else (0.0, 0.0)
    return image_like(on_scan, native.path, f"normfed {name} map", (float(low), float(high)))


def stem(visit: Visit, modality: str) -> str:
    """How the names of files begin that lie on one of a visit's scans; a contrast agent is an entity of its own."""
    *agent, suffix = modality.split("_")
    return "_".join([visit.name, *agent, f"space-{suffix}"])


def write_map(
    values: np.ndarray,
    visit: Visit,
    place: ScanPlace,
    folder: Path,
    name: str = ANOMALY,
    outside: float = 0.0,
) -> Path:
    """Write the image of a map, see `map_image`; returns its path."""
    path = folder / f"{stem(visit, place.modality)}_desc-{name}_map.nii.gz"
    write(map_image(values, place, name, outside), path)
    return path
