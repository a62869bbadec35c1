"""Maps of the diffusion tensor: values that mean the same at every scanner, so that no scan's own range is taken out.

Fractional anisotropy (FA) lies in 0 to 1. Mean diffusivity (MD) is told in mm²/s, or in µm²/ms or µm²/s, which are a
thousand and a million times as much; it becomes a share of free water's at body temperature, 3.0e-3 mm²/s (Holz 2000),
so that both lie in 0 to 1, and grey and white matter at about .25 of MD. Which files they are: `dataset_files`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normfed_client.imaging import registration
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.steps import Steps
from normfed_common.foundation.errors import ScanError
from normfed_common.study.modalities import MAPS

FREE_WATER_MM2_S = 3.0e-3
UNITS_MM2_S = (1.0, 1e-3, 1e-6)  # mm²/s, µm²/ms, µm²/s
MEDIAN_MM2_S = (2e-4, 3e-3)  # of a brain, with more than enough room: it is about 8e-4
MEDIAN_FA = (0.02, 0.8)  # of a brain: it is about .2


def to_reference(scans: Mapping[str, Image], reference: str, steps: Steps) -> dict[str, np.ndarray]:
    """World of the reference to each scan's world, by modality; maps on one grid are of one scan, and move as one."""
    found: dict[str, np.ndarray] = {}
    for modality, scan in scans.items():
        same = [other for other in found if {modality, other} <= set(MAPS) and _on_one_grid(scan, scans[other])]
        if modality == reference:
            found[modality] = np.eye(4)
        else:
            found[modality] = found[same[0]] if same else _rigid(scans[reference], scan, steps)
    return found


def _rigid(fixed: Image, moving: Image, steps: Steps) -> np.ndarray:
    return steps.array("rigid", [fixed.path, moving.path], [], lambda: registration.rigid(fixed, moving))


def in_own_units(image: np.ndarray, mask: np.ndarray, modality: str, name: str) -> np.ndarray:
    """The map in 0 to 1, float32 (X, Y, Z); 0 outside the mask.

    Parameters
    ----------
    name
        Whose it is.

    Raises
    ------
    ScanError
        If the median inside the mask is none that a brain has.
    """
    median = float(np.median(image[mask]))
    if modality == "FA":
        if not MEDIAN_FA[0] <= median <= MEDIAN_FA[1]:
            raise ScanError(
                f"{name}: FA has a median of {median:.3g} inside the brain, where {MEDIAN_FA[0]:g} to {MEDIAN_FA[1]:g} "
                "is usual. Is it the map of fractional anisotropy, from 0 to 1?"
            )
        unit = 1.0
    else:
        told = [unit for unit in UNITS_MM2_S if MEDIAN_MM2_S[0] <= median * unit <= MEDIAN_MM2_S[1]]
        if not told:
            raise ScanError(
                f"{name}: MD has a median of {median:.3g} inside the brain, where {MEDIAN_MM2_S[0]:g} to "
                f"{MEDIAN_MM2_S[1]:g} mm²/s is usual, or that in µm²/ms or µm²/s. Is it the map of mean diffusivity?"
            )
        unit = told[0] / FREE_WATER_MM2_S
    return np.where(mask, np.clip(image * unit, 0, 1), 0).astype(np.float32)


def _on_one_grid(one: Image, other: Image) -> bool:
    return one.data.shape == other.data.shape and np.allclose(one.affine, other.affine, atol=1e-2)
