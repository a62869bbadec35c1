"""What synthetic people are made from: the template's tissue maps, and where its ventricles, nuclei and folds lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from normfed_client.imaging.template import tissues, whole
from normfed_simulation.phantom.fields import logistic

HULL_SHARE, HULL_MM = 0.5, 8.0  # of the displacement at the brain's surface, which the skull keeps smooth
MARGIN_MM = 14  # around the template's brain: nobody's is larger
CISTERNS_MM = ((0.0, -14.0, -20.0), (34.0, 38.0, 20.0))  # the basal cisterns, as an ellipsoid
DARKNESS = 3.0  # of the cortex on T1 beside what is around it, as a likelihood of fluid
FOLIA = 9.0  # what the average of many lost: the leaves of the cerebellum
CALM = 0.5  # of a random displacement at the ventricles, whose walls are smooth
STEM_MM = (22.0, 2.0)  # half width of what holds the brain stem, and its top
CONVEXITY_MM = (-20.0, 5.0)  # height, softness: sheets are the cerebrum's
NEAR_VENTRICLES_MM = 8.0
DEEP_MM, DEEP_RADII_MM = (0.0, -6.0, 4.0), (33.0, 32.0, 20.0)  # the basal ganglia and the thalamus, as an ellipsoid


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
        See `anatomy.Tissue`.
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
