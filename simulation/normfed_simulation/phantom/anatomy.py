"""Synthetic people: the template's tissue maps, deformed, folded anew, and aged.

The maps are averages over 152 people, too soft for anybody's. A person's are the template's under a random deformation
(large and smooth, and small at the scale of a gyrus), made sharp again: white matter is where its share and
band-limited noise of the person's own exceed a level, fluid where the template is dark between gyri.

    fluid = S((c + f + FLUID_NOISE n - THRESHOLD + THRESHOLD_PER_YEAR (age - REFERENCE_AGE)) / SOFTNESS)

with c the template's likelihood of fluid, f the person's own folds, n noise, S the logistic curve; so sulci widen with
age, and ventricles too. In the basal cisterns threshold, softness and noise are larger (`CISTERNS`). Only the great
sulci are alike enough in all people to be seen in an average (Ono 1990); f adds the others: sheets perpendicular to the
hull, where noise over the hull changes its sign, with cortex on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_simulation.phantom.fields import logistic, smooth_noise, warp
from normfed_simulation.phantom.template import Template, centrality, cisterns, positions_mm, template

DEFORMATIONS_MM = ((35.0, 3.4, 1), (14.0, 1.2, 3))  # smoothness, standard deviation, power of `Template.free`
# The fluid behind the third ventricle, which the average has far too wide: mean and standard deviation of how far its
# walls come together, in an ellipsoid.
VELUM_MM, VELUM = (2.6, 1.2), ((0.0, -28.0, 6.0), (14.0, 16.0, 16.0))
FALX_MM, FALX = 10.0, 0.8  # the midline is held straight: over what width, and by how much
REFERENCE_AGE = 35.0
YOUNG_WALL_MM, WIDENING_FROM_AGE, WIDENING_PER_YEAR_MM, REACH_MM = -1.6, 55.0, 0.25, 16.0  # ventricles' walls, of age
WHITE_LEVEL, WHITE_NOISE, FLUID_NOISE, FOLDS_MM = 0.62, 0.12, 0.06, 9.0
# The basal cisterns: what they add to the threshold of fluid and to its softness, and how people differ. Vessels and
# nerves cross them, and membranes; the template, an average, has them wider than anybody.
CISTERNS, CISTERNS_SPREAD, CISTERNS_SOFTNESS = 0.10, 0.09, 0.14
THRESHOLD, THRESHOLD_PER_YEAR, SOFTNESS = 0.45, 0.0025, 0.09
NUCLEI_CONTRAST = 1.4  # what the average of many lost: striatum in the capsule
SHEETS_MM = (7.5, 0.45, 1.1, 3.3)  # correlation length, share of depth-dependent noise, half width of fluid, of cortex
SHEET_FLUID, SHEET_GREY = 0.42, 0.65  # what a sheet adds to the likelihood of fluid, takes of white matter's
SHEET_DEPTH_MM = (14.0, 6.0)  # below the hull: mean, standard deviation


@dataclass(frozen=True)
class Tissue:
    """Tissue shares of one person on the grid, float32 (X, Y, Z) each, summing to the brain.

    ``deep`` is grey matter's own contrast on T1 (putamen, thalamus, cortex), relative to what white matter has over
    grey; ``ventricles`` is the part of the fluid that lies in the lateral ventricles.
    """

    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    deep: np.ndarray
    ventricles: np.ndarray
    voxel_size_mm: int

    @property
    def brain(self) -> np.ndarray:
        """bool: where there is brain or fluid."""
        inside: np.ndarray = (self.gm + self.wm + self.csf) > 0.5
        return inside


def person(age: float, voxel_size_mm: int, rng: np.random.Generator) -> Tissue:
    """One person's tissue: deformed, folded, with ventricles and sulci as wide as the age makes them."""
    seen = template(voxel_size_mm)
    shape = seen.brain.shape
    displacement = np.zeros((3, *shape), np.float32)
    for smoothness_mm, size_mm, power in DEFORMATIONS_MM:
        size = seen.free**power * np.float32(size_mm / voxel_size_mm)
        for axis in range(3):
            displacement[axis] += smooth_noise(shape, smoothness_mm / voxel_size_mm, rng) * size
    displacement[0] *= 1 - FALX * np.exp(-((positions_mm(voxel_size_mm)[0] / FALX_MM) ** 2))
    displacement[0] += _narrowing(voxel_size_mm, rng) / np.float32(voxel_size_mm)
    displacement -= seen.outwards * _widening(age, seen.distance, rng) / np.float32(voxel_size_mm)
    sources = (seen.brain, seen.white, seen.fluid, seen.deep, seen.near, centrality(voxel_size_mm))
    brain, white, fluid, deep, near, central = warp(np.stack(sources), displacement, seen.box)
    folds = [smooth_noise(shape, FOLDS_MM / voxel_size_mm, rng) * (1 - central) for _ in range(2)]
    threshold = THRESHOLD - THRESHOLD_PER_YEAR * (age - REFERENCE_AGE) + rng.normal(0, 0.02)
    basal = cisterns(voxel_size_mm)
    thresholds = threshold + np.float32(CISTERNS + rng.normal(0, CISTERNS_SPREAD)) * basal
    gap, ribbon = _sheets(seen, voxel_size_mm, rng)
    likelihood = fluid + SHEET_FLUID * gap + FLUID_NOISE * (1 + basal) * folds[0]
    csf = brain * logistic((likelihood - thresholds) / (SOFTNESS + CISTERNS_SOFTNESS * basal))
    share = logistic((white - WHITE_LEVEL - SHEET_GREY * ribbon + WHITE_NOISE * folds[1]) / 0.1)
    share += central * (np.clip(NUCLEI_CONTRAST * (white - 0.5) + 0.5, 0, 1) - share)
    wm = (brain - csf) * share
    return Tissue(brain - csf - wm, wm, csf, deep, csf * near, voxel_size_mm)


def _sheets(seen: Template, voxel_size_mm: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A person's own folds, in [0, 1]: how near a sheet's middle, for fluid and for the cortex on both sides of it."""
    shape = seen.brain.shape
    length, varying, gap, cortex = SHEETS_MM
    over_hull, anywhere, deepest = (smooth_noise(shape, mm / voxel_size_mm, rng) for mm in (length, length, 20.0))
    field = (1 - varying) * over_hull[tuple(seen.hull)] + varying * anywhere
    field = ndimage.gaussian_filter(field, 2.0 / voxel_size_mm)
    steepness = np.sqrt(sum(slope**2 for slope in np.gradient(field))) / voxel_size_mm
    away = np.abs(field) / np.maximum(steepness, 0.3 * steepness.mean())  # mm, to first order
    limit = SHEET_DEPTH_MM[0] + SHEET_DEPTH_MM[1] * deepest
    return tuple(
        (seen.folding * np.exp(-((away / width) ** 2)) * logistic((limit + width - seen.depth) / 1.0)).astype(
            np.float32
        )
        for width in (gap, cortex)
    )


def _narrowing(voxel_size_mm: int, rng: np.random.Generator) -> np.ndarray:
    """How far in mm, along x, tissue beside the fluid behind the third ventricle has moved towards the midline:
    signed as x is, float (X, Y, Z)."""
    x, y, z = positions_mm(voxel_size_mm)
    middle, radii = VELUM
    squares = [((a - m) / r) ** 2 for a, m, r in zip((x, y, z), middle, radii, strict=True)]
    inwards = np.sign(x) * (1 - np.exp(-((x / 2) ** 2))) * np.float32(max(rng.normal(*VELUM_MM), 0.0))
    moved: np.ndarray = inwards * np.exp(-(squares[0] + squares[1] + squares[2]))
    return moved


def _widening(age: float, distance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How far in mm tissue at a distance from the ventricles has moved away from them; less than through the wall, for
    behind a narrow ventricle tissue begins again."""
    wall = np.clip(
        YOUNG_WALL_MM + max(age - WIDENING_FROM_AGE, 0) * WIDENING_PER_YEAR_MM + rng.normal(0, 0.8), -2.5, 5.5
    )
    moved = np.minimum(np.float32(wall) * np.exp(distance / np.float32(-REACH_MM)), distance + 0.5)
    found: np.ndarray = np.where(distance > 0, moved, np.float32(min(wall, 0.0)))
    return found
