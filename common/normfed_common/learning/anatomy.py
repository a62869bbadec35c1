"""What the common grid shows: the template's tissues, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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

    def tissues(self) -> np.ndarray:
        """Grey matter, white matter and fluid, (3, X, Y, Z)."""
        return np.stack([self.grey, self.white, self.fluid])
