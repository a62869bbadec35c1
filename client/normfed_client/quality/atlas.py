"""A robust atlas of a hospital's own cohort, and how far each person is from it.

Median and median absolute deviation per voxel: as long as fewer than half of the people are unlike the others, these do
not pull it towards themselves. Each person is first brought to a median of 0 and a quartile range of 1.349 in tissue,
so that brightness and contrast of the scan as a whole do not count. The spread of ten people at one voxel is little
more than noise, so it is smoothed over neighbours and shrunk towards that of all tissue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_client.imaging.cache import Entry
from normfed_client.quality.robust import FROM_MAD, medians
from normfed_common.learning.anatomy import Anatomy

TISSUE = 0.6  # of grey and white matter in the template: fluid differs between people by their age
SLAB_BYTES = 64 * 2**20
SHARED = 0.5  # of the people have brain there
SMOOTH_SPREAD, SMOOTH_MAP = 1.5, 1.0  # voxels, as standard deviations
PRIOR_PEOPLE = 8.0  # that the spread of all tissue counts as
BORDER = 2  # voxels along the edge of the brain, where registration is what differs
RANGE = 1.349  # the quartile range of a normal distribution
UPPER = 99.5  # percentile of a map
EVERY = 2  # voxels: fingerprints are taken of one in so many along every axis
SMOOTH_SIDES = 2.0  # voxels, before the sides are compared

Opened = tuple[np.ndarray, np.ndarray]  # an image in robust units and a mask of normal tissue, (X, Y, Z)


@dataclass(frozen=True)
class Distance:
    """How far a scan is from its cohort.

    Parameters
    ----------
    upper
        Percentile UPPER of the map in tissue, in robust standard deviations of the cohort.
    likeness
        Correlation with the median, -1 to 1.
    sides
        Correlation of the difference of left and right with the cohort's, -1 to 1: negative in who is mirrored.
    fingerprint
        What is this person's own: deviations from the median at some voxels, float32 (K,), of norm 1.
    """

    upper: float
    likeness: float
    sides: float
    fingerprint: np.ndarray


@dataclass(frozen=True)
class RobustAtlas:
    """Of one modality.

    Parameters
    ----------
    median, spread
        float32 (X, Y, Z), in robust units of a scan; 0 and 1 where too few have brain.
    where
        bool (X, Y, Z): where enough people have.
    tissue
        bool (X, Y, Z): where the template has grey or white matter as well.
    sign
        1 where lesions are bright in this modality, -1 where they are dark.
    """

    median: np.ndarray
    spread: np.ndarray
    where: np.ndarray
    tissue: np.ndarray
    sign: int

    def map(self, opened: Opened) -> np.ndarray:
        """float32 (X, Y, Z): smoothed deviations of a scan, positive where they are as lesions are; 0 off tissue."""
        image, mask = opened
        there = mask & self.where
        z = np.where(there, (image - self.median) * (self.sign / self.spread), 0).astype(np.float32)
        smooth = ndimage.gaussian_filter(z, SMOOTH_MAP, truncate=3)  # the zeros outside reach no further than BORDER
        inner = ndimage.binary_erosion(there, iterations=BORDER)
        found: np.ndarray = np.where(inner & self.tissue, smooth, 0)
        return found

    def distance(self, opened: Opened) -> Distance:
        """See `Distance`."""
        image, mask = opened
        there, found = mask & self.where, self.map(opened)
        inside = found[found != 0]
        z = np.where(there & self.tissue, (image - self.median) / self.spread, 0)[::EVERY, ::EVERY, ::EVERY]
        z = np.clip(z, -5, 5).ravel().astype(np.float32)
        return Distance(
            upper=float(np.percentile(inside, UPPER)) if inside.size else np.nan,
            likeness=_correlation(image[there], self.median[there]),
            sides=_correlation(*(_sides(one, there) for one in (image, self.median))),
            fingerprint=z / max(float(np.linalg.norm(z)), 1e-6),
        )


def opened(entry: Entry, channel: int, tissue: np.ndarray) -> Opened:
    """A scan in robust units, and its mask without what is not normal.

    Parameters
    ----------
    tissue
        bool (X, Y, Z): the template's.
    """
    image = np.load(entry.folder / "images.npy", mmap_mode="r")[channel].transpose(1, 2, 0)
    mask = entry.normal()
    low, middle, high = np.percentile(image[mask & tissue], (25, 50, 75)) if (mask & tissue).any() else (0, 0, 0)
    scaled = (np.asarray(image) - middle) * (RANGE / max(float(high - low), 1e-6))
    return np.where(mask, scaled, 0).astype(np.float32), mask


def tissue_of(anatomy: Anatomy) -> np.ndarray:
    """bool (X, Y, Z): the template's grey and white matter."""
    return np.asarray(anatomy.grey + anatomy.white > TISSUE)


def robust_atlas(people: Sequence[Callable[[], Opened]], tissue: np.ndarray, sign: int) -> RobustAtlas:
    """Median and spread over the scans of a cohort, one of each person.

    Parameters
    ----------
    people
        Open a scan each; slab after slab, so that memory does not grow with the cohort.
    """
    shape = tissue.shape
    median, squares = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    where = _count(mask for _, mask in _each(people)) > SHARED * len(people)
    for slab in _slabs(shape, len(people)):
        there = where[..., slab]
        values = np.stack([np.where(mask[..., slab], image[..., slab], np.nan)[there] for image, mask in _each(people)])
        middle = medians(values)
        median[..., slab][there] = middle
        squares[..., slab][there] = (FROM_MAD * medians(np.abs(values - middle))) ** 2
    smooth = _within(squares, where, SMOOTH_SPREAD)
    usual = float(np.median(smooth[where & tissue])) if (where & tissue).any() else 1.0
    weight = len(people) / (len(people) + PRIOR_PEOPLE)
    spread = np.sqrt(np.maximum(weight * smooth + (1 - weight) * usual, 1e-6))
    return RobustAtlas(median, np.where(where, spread, 1).astype(np.float32), where, tissue & where, sign)


def _each(people: Sequence[Callable[[], Opened]]) -> Iterator[Opened]:
    for one in people:
        yield one()


def _count(masks: Iterator[np.ndarray]) -> np.ndarray:
    """int32 (X, Y, Z): in how many masks each voxel is; none of them is held longer than it takes."""
    total = next(masks).astype(np.int32)
    for mask in masks:
        total += mask
    return total


def _slabs(shape: tuple[int, ...], people: int) -> Iterator[slice]:
    """Along the last axis, as thick as SLAB_BYTES allow."""
    thick = max(1, SLAB_BYTES // (4 * people * shape[0] * shape[1]))
    for start in range(0, shape[2], thick):
        yield slice(start, start + thick)


def _within(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Smoothed inside a mask: what is outside does not count, and is 0."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma, truncate=3)
    smooth = ndimage.gaussian_filter(np.where(mask, values, 0).astype(np.float32), sigma, truncate=3)
    found: np.ndarray = np.where(mask, smooth / np.maximum(weight, 1e-3), 0)
    return found


def _sides(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,): left less right, where both are in the mask; the common grid is symmetric about its middle."""
    both = mask & mask[::-1]
    both[: len(both) // 2 + 1] = False
    smooth = ndimage.gaussian_filter(np.where(mask, image, 0), SMOOTH_SIDES, truncate=3)
    found: np.ndarray = (smooth - smooth[::-1])[both]
    return found


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if one.size < 2 or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
