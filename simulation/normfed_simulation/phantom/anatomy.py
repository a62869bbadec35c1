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
from functools import lru_cache

import numpy as np
from scipy import ndimage

from normfed_client.imaging.template import tissues, whole

DEFORMATIONS_MM = ((35.0, 3.4, 1), (14.0, 1.2, 3))  # smoothness, standard deviation, power of `Template.free`
HULL_SHARE, HULL_MM = 0.5, 8.0  # of the displacement at the brain's surface, which the skull keeps smooth
# The fluid behind the third ventricle, which the average has far too wide: mean and standard deviation of how far its
# walls come together, in an ellipsoid.
VELUM_MM, VELUM = (2.6, 1.2), ((0.0, -28.0, 6.0), (14.0, 16.0, 16.0))
FALX_MM, FALX = 10.0, 0.8  # the midline is held straight: over what width, and by how much
MARGIN_MM = 14  # around the template's brain: nobody's is larger
REFERENCE_AGE = 35.0
YOUNG_WALL_MM, WIDENING_FROM_AGE, WIDENING_PER_YEAR_MM, REACH_MM = -1.6, 55.0, 0.25, 16.0  # ventricles' walls, of age
WHITE_LEVEL, WHITE_NOISE, FLUID_NOISE, FOLDS_MM = 0.62, 0.12, 0.06, 9.0
# The basal cisterns: what they add to the threshold of fluid and to its softness, and how people differ. Vessels and
# nerves cross them, and membranes; the template, an average, has them wider than anybody.
CISTERNS, CISTERNS_SPREAD, CISTERNS_SOFTNESS = 0.10, 0.09, 0.14
CISTERNS_MM = ((0.0, -14.0, -20.0), (34.0, 38.0, 20.0))
DARKNESS, THRESHOLD, THRESHOLD_PER_YEAR, SOFTNESS = 3.0, 0.45, 0.0025, 0.09
NUCLEI_CONTRAST, FOLIA = 1.4, 9.0  # what the average of many lost: striatum in the capsule, the cerebellum's leaves
CALM = 0.5  # of a random displacement at the ventricles, whose walls are smooth
SHEETS_MM = (7.5, 0.45, 1.1, 3.3)  # correlation length, share of depth-dependent noise, half width of fluid, of cortex
SHEET_FLUID, SHEET_GREY = 0.42, 0.65  # what a sheet adds to the likelihood of fluid, takes of white matter's
SHEET_DEPTH_MM = (14.0, 6.0)  # below the hull: mean, standard deviation
STEM_MM = (22.0, 2.0)  # half width of what holds the brain stem, and its top
CONVEXITY_MM = (-20.0, 5.0)  # height, softness: sheets are the cerebrum's
NEAR_VENTRICLES_MM = 8.0
DEEP_MM, DEEP_RADII_MM = (0.0, -6.0, 4.0), (33.0, 32.0, 20.0)  # the basal ganglia and the thalamus, as an ellipsoid


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


@dataclass(frozen=True)
class Template:
    """What people are made from, float32 (X, Y, Z) unless said otherwise.

    Parameters
    ----------
    brain
        Share of a voxel that is brain or fluid.
    white
        Share of white matter in what is solid.
    fluid
        Likelihood of fluid: its share, and in the cortex how much darker T1 is than around.
    deep
        See `Tissue`.
    near
        1 in and near the lateral ventricles, 0 elsewhere.
    distance
        mm to the ventricles, 0 in them.
    outwards
        (3, X, Y, Z): directions away from the ventricles, of length 1 but halfway between two of them.
    free
        How much of a random displacement there is: less near the surface.
    depth
        mm below the hull.
    hull
        int (3, X, Y, Z): the nearest point of the hull.
    box
        Slices that hold every person's brain.
    folding
        1 where people have folds of their own, 0 in the cerebellum, among the nuclei and at the midline.
    affine
        float (4, 4).
    """

    brain: np.ndarray
    white: np.ndarray
    fluid: np.ndarray
    deep: np.ndarray
    near: np.ndarray
    distance: np.ndarray
    outwards: np.ndarray
    free: np.ndarray
    depth: np.ndarray
    hull: np.ndarray
    box: tuple[slice, ...]
    folding: np.ndarray
    affine: np.ndarray


@lru_cache(maxsize=2)
def template(voxel_size_mm: int) -> Template:
    """The template at a resolution."""
    t1, affine = whole("t1", voxel_size_mm)
    gm, wm, csf = tissues(voxel_size_mm)
    brain = gm + wm + csf
    ventricles = _lateral_ventricles(brain > 0.5, gm, wm, csf, voxel_size_mm)
    distance = ndimage.distance_transform_edt(~ventricles, sampling=voxel_size_mm)
    signed = distance - ndimage.distance_transform_edt(ventricles, sampling=voxel_size_mm)
    outwards = np.stack(np.gradient(ndimage.gaussian_filter(signed, 2.0 / voxel_size_mm))).astype(np.float32)
    outwards /= np.maximum(np.linalg.norm(outwards, axis=0), 0.5 * voxel_size_mm)
    around = ndimage.gaussian_filter(t1 * brain, 4.0 / voxel_size_mm)
    around /= np.maximum(ndimage.gaussian_filter(brain, 4.0 / voxel_size_mm), 0.1)
    cortex = gm * (1 - centrality(voxel_size_mm))
    fluid = csf + DARKNESS * np.clip(around - t1, 0, 0.3) * cortex
    deep = np.where(gm > 0.2, np.clip((t1 - 0.55) * 2.0, -0.3, 0.5), 0).astype(np.float32)
    detail = np.where(_cerebellum(voxel_size_mm) > 0.5, t1 - ndimage.gaussian_filter(t1, 3.0 / voxel_size_mm), 0)
    deep = (deep + np.clip(FOLIA * detail, -0.8, 0.8) * (brain > 0.9)).astype(np.float32)
    near = logistic(NEAR_VENTRICLES_MM - distance).astype(np.float32)
    depth, hull = ndimage.distance_transform_edt(
        ndimage.binary_closing(brain > 0.5, iterations=max(1, round(6 / voxel_size_mm))),
        sampling=voxel_size_mm,
        return_indices=True,
    )
    free = (1 - (1 - HULL_SHARE) * np.exp(-depth / HULL_MM)).astype(np.float32)
    free *= 1 - CALM * np.exp(-distance / np.float32(NEAR_VENTRICLES_MM))
    return Template(
        brain=brain,
        white=wm / np.maximum(gm + wm, 1e-3),
        fluid=fluid,
        deep=deep,
        near=near,
        distance=distance.astype(np.float32),
        outwards=outwards,
        free=free,
        depth=depth.astype(np.float32),
        hull=hull,
        box=_box(brain > 0.01, voxel_size_mm),
        folding=_folding(near, voxel_size_mm),
        affine=affine,
    )


def _box(brain: np.ndarray, voxel_size_mm: int) -> tuple[slice, ...]:
    """See `Template`."""
    margin = round(MARGIN_MM / voxel_size_mm)
    return tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in ndimage.find_objects(brain.astype(int))[0])


def _folding(near: np.ndarray, voxel_size_mm: int) -> np.ndarray:
    """See `Template`."""
    x, _, z = positions_mm(voxel_size_mm)
    height, softness = CONVEXITY_MM
    cerebral = logistic((z - height) / softness) * (1 - _cerebellum(voxel_size_mm))
    found: np.ndarray = cerebral * logistic(np.abs(x) - 7) * (1 - near) * (1 - centrality(voxel_size_mm))
    return found.astype(np.float32)


@lru_cache(maxsize=2)
def centrality(voxel_size_mm: int) -> np.ndarray:
    """float32 (X, Y, Z): 1 among the deep nuclei, 0 in the cortex."""
    offsets = (positions_mm(voxel_size_mm)[axis] - DEEP_MM[axis] for axis in range(3))
    radius = np.sqrt(sum((offset / r) ** 2 for offset, r in zip(offsets, DEEP_RADII_MM, strict=True)))
    inside: np.ndarray = logistic((1 - radius) / 0.06).astype(np.float32)
    return inside


@lru_cache(maxsize=2)
def cisterns(voxel_size_mm: int) -> np.ndarray:
    """float32 (X, Y, Z): 1 at the base of the brain, between its lobes and around the stem."""
    (middle, radii) = CISTERNS_MM
    offsets = zip(positions_mm(voxel_size_mm), middle, radii, strict=True)
    radius = np.sqrt(sum(((position - m) / r) ** 2 for position, m, r in offsets))
    inside: np.ndarray = logistic((1 - radius) / 0.08).astype(np.float32)
    return inside


def _cerebellum(voxel_size_mm: int) -> np.ndarray:
    """float32 (1, Y, Z): 1 behind and below the tentorium, roughly."""
    _, y, z = positions_mm(voxel_size_mm)
    below: np.ndarray = logistic((-38 - y) / 3) * logistic((-18 - 0.35 * (y + 60) - z) / 3)
    return below.astype(np.float32)


def positions_mm(voxel_size_mm: int) -> list[np.ndarray]:
    """x, y, z in mm of the template's space, each broadcastable to the grid."""
    t1, affine = whole("t1", voxel_size_mm)
    return [
        (np.arange(side, dtype=np.float32) * voxel_size_mm + affine[axis, 3]).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
        for axis, side in enumerate(t1.shape)
    ]


def _lateral_ventricles(
    brain: np.ndarray, gm: np.ndarray, wm: np.ndarray, csf: np.ndarray, voxel_size_mm: int
) -> np.ndarray:
    """bool: fluid deep in the brain with more white matter than grey around it, unlike cisterns."""
    inner = ndimage.binary_erosion(brain, iterations=max(1, round(20 / voxel_size_mm)))
    around = [ndimage.gaussian_filter(image, 5 / voxel_size_mm) for image in (wm, gm)]
    above = (positions_mm(voxel_size_mm)[2] > 0) & inner
    found: np.ndarray = (csf > 0.5) & above & (around[0] > around[1])
    return found


def cerebrum(voxel_size_mm: int) -> np.ndarray:
    """bool (X, Y, Z): neither cerebellum nor brain stem, roughly, in the template's space."""
    x, _, z = positions_mm(voxel_size_mm)
    stem = (np.abs(x) < STEM_MM[0]) & (z < STEM_MM[1])
    found: np.ndarray = ~(stem | (_cerebellum(voxel_size_mm) > 0.5))
    return found


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


def smooth_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise of correlation length ``scale`` voxels, float32: drawn and smoothed on a coarse grid."""
    import torch
    from torch.nn.functional import interpolate

    coarse = tuple(int(np.ceil(2 * side / scale)) + 2 for side in shape)
    drawn = ndimage.gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 1.0)
    field: np.ndarray = interpolate(torch.from_numpy(drawn)[None, None], size=shape, mode="trilinear")[0, 0].numpy()
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def logistic(x: np.ndarray) -> np.ndarray:
    curve: np.ndarray = 0.5 + 0.5 * np.tanh(0.5 * x)
    return curve


def warp(images: np.ndarray, displacement: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Linear interpolation of ``images`` (C, X, Y, Z) at x + displacement(x), for x in ``box``; 0 elsewhere.

    In torch: splines take ten times as long.
    """
    import torch
    from torch.nn.functional import grid_sample

    axes = [torch.arange(side, dtype=torch.float32)[part] for side, part in zip(images.shape[1:], box, strict=True)]
    identity = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    size = torch.tensor(images.shape[1:], dtype=torch.float32).view(3, 1, 1, 1)
    position = (identity + torch.from_numpy(displacement[:, *box].astype(np.float32))) / (size - 1) * 2 - 1
    grid = position.flip(0).permute(1, 2, 3, 0)[None]
    warped = np.zeros_like(images)
    warped[:, *box] = grid_sample(torch.from_numpy(images)[None], grid, align_corners=True)[0].numpy()
    return warped
