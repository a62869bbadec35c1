"""How scans differ between scanners, drawn for normal tissue and for the same tissue with anomalies alike.

In robust units x, clipped to [l, h]: contrast bent around the median, g(x) = ((x - l)^c - (-l)^c) / (c (-l)^(c - 1)) with
g(0) = 0 and g'(0) = 1; a bias field; blur; another scale and median; noise.
"""

from __future__ import annotations

import numpy as np

from normfed_common.models.synthetic.planting import smooth_noise
from normfed_common.models.voxelwise.intensities import UNITS, smoothed_inside

CONTRAST = 0.35  # largest logarithm of c
BIAS, BIAS_VOXELS = 0.15, 30.0  # largest standard deviation of the field's logarithm, distance of its knots
BLURRED, IN_PLANE, THROUGH_PLANE = 0.4, 0.8, 1.5  # share of slabs, largest standard deviations in voxels
SCALE, MEDIAN = 0.1, 0.15  # standard deviations, of the logarithm and in units
NOISE = 0.25  # largest standard deviation, units


def augmented(both: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Units of the same tissue without and with anomalies, as another scanner might have them.

    Parameters
    ----------
    both
        (2, C, X, Y, Z).
    mask
        bool of shape (X, Y, Z): the brain; what is outside stays as it is.

    Returns
    -------
    float32 of the same shape.
    """
    found = np.empty(both.shape, np.float32)
    for channel in range(both.shape[1]):
        one = both[:, channel].astype(np.float32)
        found[:, channel] = np.where(mask, _augmented(one, mask, rng), one)
    return found


def _augmented(pair: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, X, Y, Z)."""
    lowest = UNITS[0]
    power = np.exp(rng.uniform(-CONTRAST, CONTRAST))
    bent = (np.maximum(pair - lowest, 0) ** power - (-lowest) ** power) / (power * (-lowest) ** (power - 1))
    field = np.exp(rng.uniform(0, BIAS) * smooth_noise(mask.shape, BIAS_VOXELS, rng))
    bent = (bent - lowest) * field + lowest
    in_plane, through_plane = rng.uniform(0, IN_PLANE), rng.uniform(0, THROUGH_PLANE) * (rng.random() < 0.5)
    if rng.random() < BLURRED:
        bent = np.stack([smoothed_inside(one, mask, (in_plane, in_plane, through_plane)) for one in bent])
    scaled = bent * np.exp(rng.normal(0, SCALE)) + rng.normal(0, MEDIAN)
    noise = rng.uniform(0, NOISE) * rng.standard_normal(mask.shape, dtype=np.float32)
    clipped: np.ndarray = np.clip(scaled + noise, *UNITS)
    return clipped
