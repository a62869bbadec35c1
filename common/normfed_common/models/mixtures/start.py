"""Where classes start: spread over the Gaussian that all voxels together make, the same at every site.

The means are the first K points of Halton's sequence in M dimensions (1960), which fill a cube evenly whatever K is,
as quantiles of a Gaussian with the mean and the covariance of all voxels. Nothing is drawn.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from normfed_common.models.mixtures.classes import Moments


def means(moments: Moments, classes: int) -> np.ndarray:
    """(K, M)."""
    points = qmc.Halton(len(moments.mean), scramble=False).random(classes + 1)[1:]  # the first is a corner of the cube
    values, axes = np.linalg.eigh(moments.covariance)
    spread = axes * np.sqrt(np.maximum(values, 0))
    found: np.ndarray = moments.mean + ndtri(points) @ spread[:, ::-1].T  # the finest spacing along the longest axis
    return found
