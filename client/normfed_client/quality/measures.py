"""Numbers of one visit that its cohort is compared in; those of preprocessing are taken from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.template import common_grid
from normfed_client.quality.atlas import TISSUE, Distance
from normfed_client.quality.files import FileFacts
from normfed_common.learning.anatomy import Anatomy

PURE = 0.8  # of a tissue in the template, where its contrast is measured


@dataclass(frozen=True)
class Contrast:
    """Of one modality of a preprocessed scan, inside the brain.

    Parameters
    ----------
    contrast
        Medians of white and grey matter apart, in robust standard deviations of white matter (Magnotta & Friedman
        2006, as in MRIQC's CNR; Esteban 2017).
    noise
        Robust standard deviation of second differences along the slice in white matter, as a share of the median.
    """

    contrast: float
    noise: float


@dataclass(frozen=True)
class Measured:
    """One visit.

    Parameters
    ----------
    volume_ml
        Of the brain in the scan, not on the template.
    covered
        Share of the template's brain that the scan's has.
    overlap
        How well the registered brain agrees with the template (see `imaging.placement`).
    whole
        Share of the mask in its largest piece.
    files, contrasts, distances
        By modality; distances of those who are compared with the atlas.
    """

    visit: Visit
    entry: Entry
    volume_ml: float
    covered: float
    overlap: float
    whole: float
    files: dict[str, FileFacts]
    contrasts: dict[str, Contrast]
    distances: dict[str, Distance]


def of_brain(entry: Entry, voxel_size_mm: int) -> tuple[float, float, float, float]:
    """Volume in the scan in ml, share of the template's brain, agreement with it, share of the largest piece."""
    meta, mask, grid = entry.meta(), entry.mask(), common_grid(voxel_size_mm)
    stretched = abs(float(np.linalg.det(np.array(meta["to_reference"])[:3, :3])))
    volume = float(mask.sum()) * voxel_size_mm**3 / 1000 * stretched
    pieces, count = ndimage.label(mask)
    whole = float(np.bincount(pieces.ravel())[1:].max() / mask.sum()) if count else 0.0
    return volume, float((mask & grid.brain).sum() / grid.brain.sum()), float(meta["overlap"]), whole


def contrast_of(entry: Entry, channel: int, anatomy: Anatomy) -> Contrast:
    """See `Contrast`."""
    image = np.load(entry.folder / "images.npy", mmap_mode="r")[channel].transpose(1, 2, 0)
    mask = entry.normal()
    white, grey = (np.asarray(image[mask & (tissue > PURE)]) for tissue in (anatomy.white, anatomy.grey))
    if white.size < 2 or grey.size < 2:
        return Contrast(0.0, 0.0)
    spread = float(np.subtract(*np.percentile(white, (75, 25)))) / 1.349
    middle = float(np.median(white))
    inner = ndimage.binary_erosion(mask & (anatomy.white > TISSUE))
    second = np.asarray(image)[2:] - 2 * np.asarray(image)[1:-1] + np.asarray(image)[:-2]
    second = second[inner[1:-1]]
    noise = float(np.subtract(*np.percentile(second, (75, 25)))) / 1.349 / np.sqrt(6) if second.size else 0.0
    return Contrast(abs(middle - float(np.median(grey))) / max(spread, 1e-6), noise / max(abs(middle), 1e-6))
