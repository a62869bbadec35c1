"""Volumes as Zakazov 2021 prepares them, and crops of their slices.

Resampled to 1 x .95 x .95 mm along the axes as stored, images by cubic splines, masks too and then above one half;
intensities clipped to the percentiles 1 and 99 of the whole volume and scaled to 0 to 1. Slices are
along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from normfed_common.foundation.errors import DatasetError

SPACING_MM = (1.0, 0.95, 0.95)
PERCENTILES = (1, 99)
ORDER = 3  # of the splines


@dataclass(frozen=True)
class Subject:
    """One person's scan and the mask of the brain, as they lie on disk."""

    site: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Volume:
    """A prepared scan.

    Parameters
    ----------
    image
        float16 of shape (X, Y, Z), 0 to 1.
    mask
        bool of the same shape: the brain.
    """

    image: np.ndarray
    mask: np.ndarray


Opened = Callable[[Subject], Volume]


def opened(subject: Subject) -> Volume:
    """Read and prepare a scan.

    Raises
    ------
    DatasetError
        If a file cannot be read, the mask is of another shape or has no brain, or the scan has one value alone.
    """
    from nibabel import load
    from nibabel.filebasedimages import ImageFileError

    arrays = []
    zooms: Sequence[float] = ()
    for path in (subject.mask, subject.image):
        try:
            file = load(path)
            arrays.append(np.asarray(file.dataobj, np.float32))
            zooms = file.header.get_zooms()[:3]
        except (OSError, EOFError, ValueError, ImageFileError) as error:
            raise DatasetError(f"{path}: cannot be read as NIfTI ({error}). Get the file again.") from error
    mask, image = arrays
    if mask.shape != image.shape or image.ndim != 3:
        raise DatasetError(
            f"{subject.mask}: has shape {mask.shape}, and {subject.image.name} has {image.shape}; both must be of the "
            "same three axes. Give the mask that was made on this scan."
        )
    if not np.isfinite(image).all():
        raise DatasetError(f"{subject.image}: has values that are not finite. Export the scan again.")
    found = prepared(image, mask, tuple(float(zoom) for zoom in zooms))
    if not found.mask.any():
        raise DatasetError(f"{subject.mask}: has no voxel above one half, so there is no brain. Get the mask again.")
    return found


def prepared(image: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, ...]) -> Volume:
    """Resample both, and scale the intensities; see the module."""
    factors = [old / new for old, new in zip(spacing_mm, SPACING_MM, strict=True)]
    image, mask = (ndimage.zoom(array.astype(np.float32), factors, order=ORDER) for array in (image, mask))
    low, high = np.percentile(image, PERCENTILES)
    if low == high:
        raise DatasetError(
            f"A scan has the value {low:g} nearly everywhere, from its percentile {PERCENTILES[0]} to "
            f"{PERCENTILES[1]}: there is nothing to learn from it. Leave it out."
        )
    scaled = (np.clip(image, low, high) - low) / (high - low)
    return Volume(scaled.astype(np.float16), mask >= 0.5)


def batch(volumes: Sequence[Volume], count: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random crops of random slices of random people, float32 of shape (count, 1, size, size), and their masks.

    What lies beyond a slice has its least value, and no brain. A slice that is smaller than the crop along any axis is
    centred.
    """
    images = np.zeros((count, 1, size, size), np.float32)
    masks = np.zeros_like(images)
    for number, which in enumerate(rng.integers(len(volumes), size=count)):
        volume = volumes[which]
        depth = rng.integers(volume.image.shape[2])
        image, mask = volume.image[..., depth], volume.mask[..., depth]
        lengths = np.array(image.shape)
        starts = rng.integers(lengths - size + 1) if (lengths >= size).all() else lengths // 2 - size // 2
        images[number] = image.min()
        into = tuple(slice(max(-s, 0), min(n - s, size)) for s, n in zip(starts, lengths, strict=True))
        of = tuple(slice(max(s, 0), min(s + size, n)) for s, n in zip(starts, lengths, strict=True))
        images[number, 0][into], masks[number, 0][into] = image[of], mask[of]
    return images, masks
