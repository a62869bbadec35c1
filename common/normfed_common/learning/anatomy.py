"""What the common grid shows: the template's tissues, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Anatomy:
    """The template on the common grid, in step with every scan of a study up to what registration leaves.

    Parameters
    ----------
    t1
        float32 of shape (X, Y, Z): its T1 in [0, 1].
    grey, white, fluid
        float32 of shape (X, Y, Z): the probability that a voxel is grey matter, white matter, cerebrospinal fluid; they
        sum to the brain, softened at its rim.
    """

    t1: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    fluid: np.ndarray
    _spread: dict[float, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def tissues(self) -> np.ndarray:
        """Grey matter, white matter and fluid, (3, X, Y, Z)."""
        return np.stack([self.grey, self.white, self.fluid])

    def spread_white(self, sigma_voxels: float) -> np.ndarray:
        """White matter after a Gaussian, as a share of its maximum, float64 (X, Y, Z) in [0, 1]."""
        if sigma_voxels not in self._spread:
            spread = ndimage.gaussian_filter(self.white.astype(np.float64), sigma_voxels)
            share = spread / spread.max()
            share.setflags(write=False)
            self._spread[sigma_voxels] = share
        return self._spread[sigma_voxels]
