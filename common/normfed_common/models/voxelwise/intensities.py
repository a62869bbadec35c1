"""Intensities that mean the same in every person, and smoothing that takes nothing from outside the brain.

units:   (x - median) / u,  u = (q75 - q25) / 1.349  over the brain, clipped to [-5, 8]
smooth:  G(v w) / G(w),  G a Gaussian, w the weight of a voxel
score:   log(1 + e^s),  s how far a voxel is to the suspicious side: s itself where it is large, never below 0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter

from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.masks import box_of
from normfed_common.learning.deviations import in_robust_deviations

Side = Literal["bright", "dark"]
Suspicious = Side | Literal["both"]
# As WMH, MS and most tumours are; where tissue is lost water moves further (MD), and less along one axis (FA).
USUALLY: Mapping[str, Side] = {"T1w": "dark", "FLAIR": "bright", "T2w": "bright", "FA": "dark", "MD": "bright"}
MAIN = ("FLAIR", "T2w")  # where lesions are bright, in the order in which they stand out
UNITS = (-5.0, 8.0)  # lesions reach further up than anything reaches down
TRUNCATE = 3.0  # standard deviations of the Gaussian, which is 1.3 % narrower for it


def robust_units(images: np.ndarray, mask: np.ndarray, present: np.ndarray, outside: float = 0.0) -> np.ndarray:
    """Each modality's distance from its median in the brain, in robust standard deviations.

    Where more than half of the brain has one value, its standard deviation stands for u; a constant modality is 0.

    Parameters
    ----------
    images
        (C, X, Y, Z).
    mask
        bool of shape (X, Y, Z): the brain.
    present
        bool of shape (C,); a modality that is absent is 0 in the brain.
    outside
        The value outside the brain.

    Returns
    -------
    float32 of shape (C, X, Y, Z), laid out in memory as ``images``.
    """
    found = np.full_like(images, outside, dtype=np.float32)
    for channel in range(len(images)):
        if present[channel]:
            units = in_robust_deviations(images[channel][mask].astype(np.float64))
            found[channel][mask] = np.clip(units, *UNITS)
        else:
            found[channel][mask] = 0.0
    return found


def smoothed_inside(
    volumes: np.ndarray, weights: np.ndarray, sigma_voxels: float | tuple[float, float, float]
) -> np.ndarray:
    """Volumes after Gaussian smoothing within their weights; 0 where there is no weight.

    Parameters
    ----------
    volumes
        (..., X, Y, Z), finite where there is weight.
    weights
        (X, Y, Z), bool or weights of at least 0.
    sigma_voxels
        Alike or along every axis; 0 leaves the volumes as they are.

    Returns
    -------
    float32 of shape (..., X, Y, Z).
    """
    found = np.zeros(volumes.shape, np.float32)
    box = box_of(weights > 0)  # nothing comes from beyond
    here: Any = (..., *box)
    weight = weights[box].astype(np.float32)
    inside = weights[box] > 0
    values = np.where(inside, volumes[here], 0).astype(np.float32)
    if np.any(np.greater(sigma_voxels, 0)) and inside.any():
        blurred = _blurred(weight, sigma_voxels)
        values = _blurred(values * weight, sigma_voxels)
        values = np.divide(values, blurred, out=np.zeros_like(values), where=inside & (blurred > 0))
    found[here] = values
    return found


def brightest(modalities: Sequence[str]) -> str | None:
    """The modality on which lesions are bright and stand out most: FLAIR, else T2w; None without either."""
    return next((name for name in MAIN if name in modalities), None)


def main_modality(named: str | None, modalities: Sequence[str]) -> str:
    """The one to look at where one has to be chosen: that which a study names, else the `brightest`, or the first."""
    return named or brightest(modalities) or modalities[0]


def check_named(model: str, key: str, named: Iterable[str], modalities: Sequence[str]) -> None:
    """Whether the study has every modality that a parameter of a model names.

    Parameters
    ----------
    model, key
        Whose parameter, for the message.

    Raises
    ------
    StudyError
        If it does not.
    """
    for name in named:
        if name not in modalities:
            raise StudyError(
                f"{model}: `{key}` names {name}, but the study has no {name}, only {', '.join(modalities)}. "
                f"Change `{key}`, or leave it out."
            )


def main_and_signs(
    model: str, named: str | None, suspicious: Mapping[str, Side], modalities: Sequence[str]
) -> tuple[str, np.ndarray]:
    """The `main_modality`, and of every modality 1 where lesions are bright there, else -1: float32 (C,).

    Parameters
    ----------
    model
        For the message.
    suspicious
        Bright or dark by modality; `USUALLY` says the others.

    Raises
    ------
    StudyError
        If a modality is named that the study does not have.
    """
    main = main_modality(named, modalities)
    check_named(model, "modality", [main], modalities)
    check_named(model, "suspicious", suspicious, modalities)
    sides = [suspicious.get(name, USUALLY.get(name, "bright")) for name in modalities]
    return main, np.array([-1.0 if side == "dark" else 1.0 for side in sides], np.float32)


def suspicion(values: np.ndarray, suspicious: Suspicious) -> np.ndarray:
    """How far values, signed, are to the suspicious side; for both sides how far they are from 0."""
    if suspicious == "both":
        return np.abs(values)
    return values if suspicious == "bright" else -values


def never_negative(suspicions: np.ndarray) -> np.ndarray:
    """log(1 + e^s), which keeps the order of suspicions, down to where it underflows."""
    softplus: np.ndarray = np.logaddexp(0, suspicions)
    return softplus


def _blurred(volumes: np.ndarray, sigma_voxels: float | tuple[float, float, float]) -> np.ndarray:
    axes = (-3, -2, -1)
    found: np.ndarray = gaussian_filter(volumes, sigma_voxels, mode="constant", truncate=TRUNCATE, axes=axes)
    return found
