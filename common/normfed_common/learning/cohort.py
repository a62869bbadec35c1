"""The people to learn from, and one person's scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Volume:
    """One person's preprocessed scan on the common grid.

    Parameters
    ----------
    images
        float32 of shape (modalities, X, Y, Z), normalised; axial slices are contiguous in memory.
    mask
        bool of shape (X, Y, Z): the brain.
    normal_index
        int32, sorted flat indices (C order) of the voxels that count as normal.
    """

    images: np.ndarray
    mask: np.ndarray
    normal_index: np.ndarray


class Cohort(Protocol):
    """People to learn from; a volume is opened when asked for, so that memory does not grow with the cohort."""

    def __len__(self) -> int: ...

    def volume(self, subject: int) -> Volume:
        """Open the scan of the ``subject``-th person."""
        ...
