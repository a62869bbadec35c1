"""What a learner must know about a study: modalities, the common grid, the range of values, the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from normfed_common.learning import precision
from normfed_common.learning.anatomy import Anatomy
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import Precision
from normfed_common.study.postprocessing import OFF, PostprocessingConfig
from normfed_common.study.preprocessing import WIDEST_CLIP

CPU = torch.device("cpu")
SUMS_ROUNDING = 1e-6  # by which sums may contradict each other, relative: images are float32


@dataclass(frozen=True)
class Setting:
    """What a model must know about the study besides its own parameters.

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
        Of the images: normalised ones, or those that the transforms before a learner have made.
    precision
        Of networks, see `normfed_common.learning.precision`.
    may_lack
        Modalities that scans may lack; all scans have the others.
    open_anatomy
        Returns what the common grid shows, see `anatomy`; None where no scan is opened, as at the server.
    postprocessing
        Of the maps of models whose entry has none of its own.
    told_together
        How many people a number that leaves the site is about at least. Parameters come from the server, and can be
        made up so that a bin or a class is a voxel of one person: who sums by such parts adds those of few up.
    private
        Whether sums leave a site with noise that hides any person (see `Learner.bounded`).
    """

    modalities: tuple[str, ...]
    voxel_size_mm: float
    shape: tuple[int, int, int]
    seed: int = 0
    device: torch.device = CPU
    value_range: tuple[float, float] = (-WIDEST_CLIP, WIDEST_CLIP)
    precision: Precision = "float32"
    may_lack: tuple[str, ...] = ()
    open_anatomy: Callable[[], Anatomy] | None = None
    postprocessing: PostprocessingConfig = OFF
    told_together: int = 1
    private: bool = False

    @classmethod
    def of(
        cls,
        study: StudyConfig,
        shape: tuple[int, int, int] = (1, 1, 1),
        device: torch.device = CPU,
        seed: int | None = None,
        open_anatomy: Callable[[], Anatomy] | None = None,
    ) -> Setting:
        """The setting of a study; by default the server's, which opens no scan and so has no grid and no device.

        Parameters
        ----------
        seed
            Of another training run of the same model; the study's when absent.
        """
        preprocessing = study.preprocessing
        return cls(
            study.data.modalities,
            preprocessing.voxel_size_mm,
            shape,
            study.seed if seed is None else seed,
            device,
            preprocessing.value_range,
            study.federation.precision,
            study.data.may_lack,
            open_anatomy,
            study.postprocessing,
            private=study.privacy.epsilon is not None,
        )

    @property
    def anatomy(self) -> Anatomy:
        """What the common grid shows; for whatever is done with scans, never for what the server does with sums.

        Raises
        ------
        TypeError
            Where no scan is opened.
        """
        if self.open_anatomy is None:
            raise TypeError("there is no anatomy where no scan is opened")
        return self.open_anatomy()

    def autocast(self) -> torch.autocast:
        """The context in which networks compute."""
        return precision.autocast(self.device, self.precision)


@dataclass(frozen=True)
class Places:
    """A grid of places, each with sums of its own. The shape of such sums begins or ends with ``shape``, flat or not.

    An array that is not over them leaves a hospital only if ``beside`` names it.

    Parameters
    ----------
    shape
        Places along x, y, z.
    edge_mm
        Of a place, which is a cube.
    beside
        Names of the phase's arrays that are over whole brains.
    pairs
        Names of the phase's arrays (m, ..., X, Y, Z, ..., X, Y, Z) that are over pairs of places.
    of_scans
        Whether any sum is of what a scan has at a place as a whole, such as its mean; else every sum is over voxels.
    """

    shape: tuple[int, int, int]
    edge_mm: float
    beside: tuple[str, ...] = ()
    of_scans: bool = False
    pairs: tuple[str, ...] = ()

    def of_voxels(self, shape: tuple[int, ...], voxel_size_mm: float) -> np.ndarray:
        """The flat number (X * Y * Z,) of the place of every voxel of a grid (X, Y, Z)."""
        cell = max(1, round(self.edge_mm / voxel_size_mm))
        axes = np.ogrid[tuple(slice(length) for length in shape)]
        places = [np.minimum(axis // cell, most - 1) for axis, most in zip(axes, self.shape, strict=True)]
        found: np.ndarray = np.ravel_multi_index(np.broadcast_arrays(*places), self.shape).ravel()
        return found
