"""How scans differ between scanners, drawn for normal tissue and for the same tissue with anomalies alike.

In robust units x, at least l: contrast bent around the median, g(x) = ((x - l)^c - (-l)^c) / (c (-l)^(c - 1)), g(0) = 0
and g'(0) = 1; a bias field; blur; another scale and median; noise.
"""

from __future__ import annotations

import numpy as np

from normfed_common.models.synthetic.planting import smooth_noise
from normfed_common.models.voxelwise.intensities import TRUNCATE, UNITS, smoothed_inside

CONTRAST = 0.35  # largest logarithm of c
BIAS, BIAS_MM = 0.15, 60.0  # largest standard deviation of the field's logarithm, distance of its knots
BLURRED, IN_PLANE_MM = 0.4, 1.6  # share of slabs, largest standard deviation
THICK, THROUGH_PLANE_MM = 0.5, 3.0  # of those, as if slices had been thick
SCALE, MEDIAN = 0.1, 0.15  # standard deviations, of the logarithm and in units
NOISE = 0.25  # largest standard deviation, units


def augmented(
    both: np.ndarray, mask: np.ndarray, voxel_size_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Units of the same tissue without and with anomalies, as another scanner might have them.

    Parameters
    ----------
    both
        (2, C, X, Y, Z).
    mask
        bool of shape (X, Y, Z): the brain; what is outside stays as it is.

    Returns
    -------
    float32 of the same shape, and from how many slices away blur has carried anything.
    """
    found, reach = np.empty(both.shape, np.float32), 0
    for channel in range(both.shape[1]):
        one = both[:, channel].astype(np.float32)
        blur = _blur(voxel_size_mm, rng)
        found[:, channel] = np.where(mask, _augmented(one, mask, blur, BIAS_MM / voxel_size_mm, rng), one)
        reach = max(reach, int(TRUNCATE * blur[2] + 0.5))
    return found, reach


def _blur(voxel_size_mm: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Standard deviations along x, y, z, voxels; all 0 in most slabs."""
    blurred, thick = rng.random(2) < (BLURRED, THICK)
    in_plane, through_plane = rng.uniform(0, (IN_PLANE_MM, THROUGH_PLANE_MM)) / voxel_size_mm * blurred
    return float(in_plane), float(in_plane), float(through_plane * thick)


def _augmented(
    pair: np.ndarray, mask: np.ndarray, blur: tuple[float, float, float], knots: float, rng: np.random.Generator
) -> np.ndarray:
    """(2, X, Y, Z), with a bias field that bends every so many voxels."""
    lowest = UNITS[0]
    power = np.exp(rng.uniform(-CONTRAST, CONTRAST))
    bent = (np.maximum(pair - lowest, 0) ** power - (-lowest) ** power) / (power * (-lowest) ** (power - 1))
    field = np.exp(rng.uniform(0, BIAS) * smooth_noise(mask.shape, knots, rng))
    bent = (bent - lowest) * field + lowest
    if any(blur):
        bent = np.stack([smoothed_inside(one, mask, blur) for one in bent])
    scaled = bent * np.exp(rng.normal(0, SCALE)) + rng.normal(0, MEDIAN)
    noise = rng.uniform(0, NOISE) * rng.standard_normal(mask.shape, dtype=np.float32)
    clipped: np.ndarray = np.clip(scaled + noise, *UNITS)
    return clipped
