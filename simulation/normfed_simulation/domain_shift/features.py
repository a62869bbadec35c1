"""What of a scan may tell its scanner or its person's age: figures of tissues, regions, brightness; a small image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.learning.cohort import Scan

QUANTILES = np.linspace(0.05, 0.95, 19)  # of the brain: its histogram, whatever its range
TISSUE_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
SURELY = 0.5  # the template's probability from which on a voxel stands for its tissue
REGION_MM, FEWEST_VOXELS = 40.0, 50
SMOOTHING_MM, STEP_MM = 4.0, 8.0
LEAST_SPREAD = 1e-3  # of a feature's deviation over people, of the largest one
BINS = 4096  # of the brightness of which volumes are made
TISSUES = ("grey matter", "white matter", "fluid")


@dataclass(frozen=True)
class ScanFeatures:
    """What is taken of one scan.

    Parameters
    ----------
    features
        float64 (f,); NaN where the scan has too little of a region.
    image
        float32 (v,): smoothed, every 8 mm; NaN outside the brain.
    tissues
        float64 (3,): mean of the first modality in the template's grey matter, white matter and fluid.
    counts
        int64 (BINS,): the brain's voxels by their brightness in the first modality.
    """

    features: np.ndarray
    image: np.ndarray
    tissues: np.ndarray
    counts: np.ndarray


class FeatureExtractor:
    """Takes features of the scans of one study.

    Parameters
    ----------
    tissues
        float32 (3, X, Y, Z): the template's grey matter, white matter and fluid.
    value_range
        Between what values of scans lie.
    """

    def __init__(self, tissues: np.ndarray, voxel_size_mm: float, value_range: tuple[float, float]) -> None:
        self.voxel_size_mm, self.edges = voxel_size_mm, np.linspace(*value_range, BINS + 1)
        self._surely = tissues > SURELY
        places = np.indices(tissues.shape[1:]) * voxel_size_mm // REGION_MM
        _, regions = np.unique(np.ravel_multi_index(tuple(places.astype(int)), _sides(places)), return_inverse=True)
        self._regions = regions.reshape(tissues.shape[1:])

    def extract(self, scan: Scan) -> ScanFeatures:
        """All that is taken from a scan, which has every modality."""
        images = np.asarray(scan.images, np.float64)
        parts = [self._of_modality(image, scan.mask) for image in images]
        first = images[0]
        return ScanFeatures(
            np.concatenate(parts),
            np.concatenate([self._small(image, scan.mask) for image in images]).astype(np.float32),
            np.array([_mean(first[scan.mask & tissue]) for tissue in self._surely]),
            np.histogram(first[scan.mask], self.edges)[0],
        )

    def volumes_ml(self, people: Sequence[ScanFeatures]) -> np.ndarray:
        """Volumes (n, 3) of grey matter, white matter and fluid in ml.

        A voxel is of the tissue whose brightness, the mean over all people, is nearest to its own: the same levels for
        everybody, as scans that have been made alike should allow.
        """
        levels = np.mean([person.tissues for person in people], axis=0)
        centres = (self.edges[:-1] + self.edges[1:]) / 2
        nearest = np.argmin(np.abs(centres[:, None] - levels), axis=1)
        member = (nearest[:, None] == np.arange(len(TISSUES))).astype(float)
        voxels: np.ndarray = np.stack([person.counts for person in people]) @ member
        return voxels * self.voxel_size_mm**3 / 1000

    def _of_modality(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Quantiles of the brain; mean, deviation and quantiles of each tissue; means of cubes of 40 mm."""
        found = [np.quantile(image[mask], QUANTILES)]
        for tissue in self._surely:
            values = image[mask & tissue]
            found.append(
                np.array([values.mean(), values.std(), *np.quantile(values, TISSUE_QUANTILES)])
                if len(values)
                else np.full(2 + len(TISSUE_QUANTILES), np.nan)
            )
        regions = self._regions[mask]
        voxels = np.bincount(regions, minlength=self._regions.max() + 1)
        sums = np.bincount(regions, image[mask], minlength=len(voxels))
        found.append(np.where(voxels >= FEWEST_VOXELS, sums / np.maximum(voxels, 1), np.nan))
        return np.concatenate(found)

    def _small(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The mean of the brain around every 8 mm."""
        sigma, step = SMOOTHING_MM / self.voxel_size_mm, max(1, round(STEP_MM / self.voxel_size_mm))
        apart = (slice(step // 2, None, step),) * 3
        brain = ndimage.gaussian_filter(mask.astype(np.float32), sigma)[apart]
        values = ndimage.gaussian_filter(np.where(mask, image, 0).astype(np.float32), sigma)[apart]
        return np.where(brain > SURELY, values / np.maximum(brain, SURELY), np.nan).ravel()


def common(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (n, f) without the columns that are not there for everybody, or the same for all but for rounding: scaled
    to one deviation that would become noise."""
    stacked = np.stack(rows)
    stacked = stacked[:, np.isfinite(stacked).all(0)]
    spread = stacked.std(0, dtype=np.float64)
    return stacked[:, spread >= LEAST_SPREAD * spread.max(initial=0.0)]


def _sides(places: np.ndarray) -> tuple[int, ...]:
    return tuple(int(axis.max()) + 1 for axis in places)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
