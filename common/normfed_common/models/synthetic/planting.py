"""Anomalies planted in normal tissue, blob by blob.

    m = sigmoid((1 - d) r / s)

d is the distance from the centre in radii r of an ellipsoid with a rough edge, s its softness. A blob adds sign *
amplitude * m to the main modality and a share of it to the others, or blends in tissue from elsewhere in another person
(foreign patch interpolation; Tan, Hou, Batten, Qiu, Kainz 2020, arXiv 2011.04197). Half of the blobs follow tissue: m
fades where the intensity is unlike that of the centre. Some are flattened first, as lesions have less texture than what
they replace. What the network is asked for is how much a voxel has changed (Naval Marimont, Tarroni 2023, DISYRE,
arXiv 2311.15453), in robust units, less what nobody would see:

    target = clip(max over modalities |x - x0| - 0.7, 0, 1)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.models.voxelwise.intensities import UNITS

AXES_SPREAD = 0.3  # standard deviation of the logarithm of an axis over the radius
ROUGHNESS, CELL_MM = 0.3, 4.0  # of the edge, in radii, and the least distance between its bumps
SOFTNESS_MM = (0.5, 2.4)
FOLLOWS, LIKENESS = 0.5, (0.5, 1.2)  # share of blobs that follow tissue, and how unlike it may be, in units
FLATTENED, FLATNESS = 0.4, 0.8  # share of blobs, how much of their texture goes
TEXTURE_MM = 1.4  # standard deviation of the Gaussian that smooths what comes instead
LEAST, FAINT = 0.5, 0.01  # a blob that reaches less is dropped; where it is fainter it ends
SUSPICIOUS = 0.9  # share of blobs that change the main modality to the suspicious side
UNCHANGED = 0.1  # share of blobs that others show and the main modality does not
OPPOSITE, SAME = 0.6, 0.15  # shares of blobs that another modality shows on its suspicious side, and on the other
BLENDED = (0.5, 1.0)  # weight of foreign tissue
UNSEEN = 0.7  # units

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Recipe:
    """What is planted.

    Parameters
    ----------
    main
        The channel whose changes are the amplitude.
    sides
        float of shape (C,): 1 where a channel's lesions are bright, -1 where they are dark.
    blobs
        On average drawn for a slab; those of which little is in normal tissue are dropped.
    radius_mm, amplitude
        Smallest and largest; amplitudes in units.
    beside
        Largest share of the amplitude that the other channels show.
    foreign, in_white
        Shares of blobs that are tissue from elsewhere, and of centres in white matter.
    voxel_size_mm
        Of the grid, so that lesions are of the same size on any.
    """

    main: int
    sides: np.ndarray
    blobs: float
    radius_mm: tuple[float, float]
    amplitude: tuple[float, float]
    beside: float
    foreign: float
    in_white: float
    voxel_size_mm: float


@dataclass(frozen=True)
class Tissue:
    """Part of a brain: intensities in robust units (C, X, Y, Z), and which voxels are normal, bool (X, Y, Z)."""

    units: np.ndarray
    normal: np.ndarray


def planted(
    tissue: Tissue, white: np.ndarray, donor: Tissue, recipe: Recipe, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The slab with anomalies in normal tissue; what is not normal stays as it was.

    Parameters
    ----------
    white
        Of the template, (X, Y, Z).
    donor
        The whole brain that foreign tissue comes from.

    Returns
    -------
    Units (C, X, Y, Z), and bool (Z,): which slices have tissue of the donor.
    """
    units, foreign = tissue.units.copy(), np.zeros(tissue.normal.shape[2], bool)
    everywhere = np.flatnonzero(tissue.normal)
    in_white = everywhere[white.ravel()[everywhere] > 0.5]
    if not len(everywhere):
        return units, foreign
    # Foreign tissue comes last: nothing that is made from a blob's own values then tells of the donor elsewhere.
    for is_foreign in sorted(rng.random(rng.poisson(recipe.blobs)) < recipe.foreign):
        centres = in_white if len(in_white) and rng.random() < recipe.in_white else everywhere
        centre = _voxel(rng.choice(centres), tissue.normal.shape)
        radius_mm, size_mm = _log_uniform(recipe.radius_mm, rng), recipe.voxel_size_mm
        box, blob = blob_at(centre, tissue.normal.shape, radius_mm, size_mm, rng)
        blob = _following(blob, units[(recipe.main, *box)], units[(recipe.main, *centre)], rng) * tissue.normal[box]
        if blob.max() < LEAST:
            continue
        here = (slice(None), *box)
        if is_foreign:
            units[here], blended = _blended(units[here], blob, donor, centre, box, rng)
            foreign[box[2]] |= blended
        else:
            units[here] = _changed(units[here], blob, recipe, rng)
    return np.clip(units, *UNITS), foreign


def target_of(units: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """What the network is asked for, float32 (X, Y, Z), of units with and without anomalies (C, X, Y, Z)."""
    found: np.ndarray = np.clip(np.abs(units - clean).max(0) - UNSEEN, 0, 1)
    return found


def blob_at(
    centre: tuple[int, ...],
    shape: tuple[int, ...],
    radius_mm: float,
    voxel_size_mm: float,
    rng: np.random.Generator,
) -> tuple[Box, np.ndarray]:
    """m of the module around a voxel, as far as it lies in the grid: its box, and float32 of the box's shape."""
    radius = radius_mm / voxel_size_mm
    axes = radius * np.exp(rng.normal(0, AXES_SPREAD, 3))
    softness = rng.uniform(*SOFTNESS_MM) / voxel_size_mm
    reach = axes.max() * (1 + 2 * ROUGHNESS + softness / radius * np.log(1 / FAINT))
    box = tuple(
        slice(max(0, int(at - reach)), min(size, int(at + reach) + 1)) for at, size in zip(centre, shape, strict=True)
    )
    x, y, z = np.ogrid[box[0], box[1], box[2]]
    angle = rng.uniform(0, np.pi)
    east, north = x - centre[0], y - centre[1]
    along, across = np.cos(angle) * east + np.sin(angle) * north, np.cos(angle) * north - np.sin(angle) * east
    distance = np.sqrt((along / axes[0]) ** 2 + (across / axes[1]) ** 2 + ((z - centre[2]) / axes[2]) ** 2)
    distance = distance + ROUGHNESS * smooth_noise(distance.shape, max(CELL_MM / voxel_size_mm, 0.8 * radius), rng)
    blob = 1 / (1 + np.exp(np.minimum((distance - 1) * radius / softness, 50)))
    blob[blob < FAINT] = 0
    return (box[0], box[1], box[2]), blob.astype(np.float32)


def smooth_noise(shape: tuple[int, ...], cell: float, rng: np.random.Generator) -> np.ndarray:
    """Standard normal values every ``cell`` voxels, linear in between: float64 of a shape."""
    coarse = rng.standard_normal([int(np.ceil(size / cell)) + 1 for size in shape])
    return ndimage.zoom(coarse, np.divide(shape, coarse.shape), order=1, grid_mode=False)


def _changed(units: np.ndarray, blob: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """(C, ...) with a blob brighter or darker, and with less texture in some."""
    if rng.random() < FLATTENED:
        units = units + FLATNESS * blob * (_flat(units, blob, TEXTURE_MM / recipe.voxel_size_mm, rng) - units)
    side = 1.0 if rng.random() < SUSPICIOUS else -1.0
    shifts = side * rng.uniform(*recipe.amplitude) * recipe.sides
    for channel in range(len(shifts)):
        drawn, share = rng.random(), rng.uniform(0, recipe.beside)
        if channel != recipe.main:
            shifts[channel] *= share * (drawn < OPPOSITE) - share * (OPPOSITE <= drawn < OPPOSITE + SAME)
        elif len(shifts) > 1 and drawn < UNCHANGED:
            shifts[channel] = 0
    return units + shifts[:, None, None, None] * blob


def _flat(units: np.ndarray, blob: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """A blob's mean in every channel, with a little texture."""
    mean = (units * blob).sum((1, 2, 3), keepdims=True) / blob.sum()
    noise = rng.standard_normal(units.shape)
    found: np.ndarray = mean + ndimage.gaussian_filter(noise, (0, *[sigma] * 3))
    return found


def _blended(
    units: np.ndarray, blob: np.ndarray, donor: Tissue, centre: tuple[int, ...], box: Box, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(C, ...) with normal tissue of the donor from anywhere, and which of the box's slices have any."""
    normal = np.flatnonzero(donor.normal)
    if not len(normal):
        return units, np.zeros(blob.shape[2], bool)
    there = _voxel(rng.choice(normal), donor.normal.shape)
    at = [np.arange(side.start, side.stop) + b - a for side, a, b in zip(box, centre, there, strict=True)]
    inside = [(index >= 0) & (index < size) for index, size in zip(at, donor.normal.shape, strict=True)]
    near = np.ix_(*[np.clip(index, 0, size - 1) for index, size in zip(at, donor.normal.shape, strict=True)])
    weight = blob * rng.uniform(*BLENDED) * donor.normal[near] * np.all(np.meshgrid(*inside, indexing="ij"), 0)
    foreign = donor.units[:, near[0], near[1], near[2]]
    return units + weight * (foreign - units), weight.any((0, 1))


def _following(blob: np.ndarray, values: np.ndarray, at_centre: float, rng: np.random.Generator) -> np.ndarray:
    """The blob, or what of it is like its centre."""
    follows, likeness = rng.random() < FOLLOWS, rng.uniform(*LIKENESS)
    return blob * np.exp(-(((values - at_centre) / likeness) ** 2) / 2) if follows else blob


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return float(limits[0] * (limits[1] / limits[0]) ** rng.random())


def _voxel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))
