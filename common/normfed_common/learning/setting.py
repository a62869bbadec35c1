"""What whoever learns must know of a study: modalities, the common grid, the range of values, the device."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from normfed_common.study.preprocessing import WIDEST_CLIP

ROUNDING = 1e-6  # by which sums may contradict each other, relative: images are float32


@dataclass(frozen=True)
class Setting:
    """What a model must know of the study beside its own parameters.

    Parameters
    ----------
    modalities
        BIDS suffixes, in the order of the image channels.
    voxel_size_mm
        Of the common grid.
    shape
        Of the common grid, voxels along x, y, z.
    seed
        The study's.
    device
        Where networks run at this site.
    value_range
        Of normalised images.
    """

    modalities: tuple[str, ...]
    voxel_size_mm: float
    shape: tuple[int, int, int]
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    value_range: tuple[float, float] = (-WIDEST_CLIP, WIDEST_CLIP)


@dataclass(frozen=True)
class Places:
    """A grid of places, each with sums of its own: an array over it begins or ends with ``shape``, flat or not.

    Parameters
    ----------
    shape
        Places along x, y, z.
    edge_mm
        Of the cube that a place is.
    """

    shape: tuple[int, int, int]
    edge_mm: float
