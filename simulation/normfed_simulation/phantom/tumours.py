"""A tumour: a mass that pushes the brain aside, dead in its middle, with oedema in the white matter around it.

Tissue at a distance r from the middle of a core of radius R is moved outwards by

    MASS R min(r / R, 1) exp(-max(r - R, 0) / REACH_MM) (1 - exp(-depth / HULL_MM))

so what the core displaces is pressed together around it, the ventricle of its side is narrowed, and the skull stays
where it is; fluid gives way first. After the mass effect of glioma models (Hogea 2008), without their mechanics.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from normfed_simulation.phantom.anatomy import Tissue
from normfed_simulation.phantom.fields import smooth_noise, warp
from normfed_simulation.phantom.shapes import Lesion, blob, highest, largest, ml
from normfed_simulation.phantom.template import cerebrum, positions_mm, template

MASS, REACH_MM, HULL_MM = 0.62, 22.0, 8.0
SQUEEZED_MM, WALL_MM = 5.0, 12.0  # how far the ventricles' walls come inwards beside the core, and what is behind them
EFFACED = 0.75  # of a partial volume of fluid, beside the core: pressure empties sulci and ventricles
CORE_SHARE = (0.2, 0.5)  # of the volume; the rest is oedema


def add_tumour(volume_ml: float, tissue: Tissue, rng: np.random.Generator) -> tuple[Tissue, Lesion]:
    """The displaced tissue, and one mass in it that takes the place of what was there."""
    size = tissue.voxel_size_mm
    inner = ndimage.binary_erosion(tissue.brain, iterations=max(1, round(14 / size)))
    radius = float((volume_ml * rng.uniform(*CORE_SHARE) * 1e3 * 0.75 / np.pi) ** (1 / 3))
    centres = np.argwhere(inner & (tissue.wm > 0.4) & (tissue.ventricles < 0.1) & cerebrum(tissue.voxel_size_mm))
    core = blob(centres, radius, (1.0, 1.3), tissue, rng, roughness=0.2) & tissue.brain
    side = np.sign(positions_mm(size)[0])  # the falx holds a mass back
    core &= side == np.sign((core * side).sum())
    tissue = _pushed(tissue, np.array(ndimage.center_of_mass(core)), radius)
    rough, fine = (smooth_noise(core.shape, mm / size, rng) for mm in (16.0, 5.0))
    reach = ndimage.distance_transform_edt(~core, sampling=size) - 3.0 * rough - 8.0 * tissue.wm
    around = (tissue.csf < 0.3) & tissue.brain & (tissue.wm > 0.2) & ~core
    oedema = highest(-reach, around, max(volume_ml - ml(core, tissue), 1.0), tissue)
    filled = ndimage.gaussian_filter((core | oedema).astype(np.float32), 2.5 / size) > 0.5
    mask = largest((filled & (tissue.ventricles < 0.5) | core) & tissue.brain)
    soft, water = (
        ndimage.gaussian_filter(part.astype(np.float32), mm / size) for part, mm in ((core, 1.4), (mask & ~core, 2.0))
    )
    dead = soft * np.clip(ndimage.gaussian_filter(core.astype(np.float32), radius / 2.5 / size) * 1.6 - 0.7, 0, 1)
    t1 = soft * (-0.18 + 0.06 * fine) - 0.30 * dead - 0.22 * water
    flair = soft * (0.75 + 0.14 * fine + 0.18 * rough) - 0.50 * dead + water**1.5 * (0.85 + 0.22 * rough)
    nothing = np.zeros(mask.shape, np.float32)
    fill = np.clip(soft + 0.5 * water, 0, 1)
    return tissue, Lesion(mask, t1.astype(np.float32), flair.astype(np.float32), nothing, fill)


def _pushed(tissue: Tissue, centre: np.ndarray, radius: float) -> Tissue:
    """What the mass leaves of the tissue around ``centre`` (voxels); radius in mm."""
    size = tissue.voxel_size_mm
    away = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in tissue.gm.shape], indexing="ij"))
    away -= centre.astype(np.float32).reshape(3, 1, 1, 1)
    distance = np.maximum(np.linalg.norm(away, axis=0) * size, 1e-3)
    near = np.exp(-np.maximum(distance - radius, 0) / REACH_MM)
    moved = MASS * radius * np.minimum(distance / radius, 1) * near
    moved *= 1 - np.exp(-template(size).depth / HULL_MM)
    inwards = template(size).outwards * (SQUEEZED_MM / size * near * np.exp(-template(size).distance / WALL_MM))
    maps = np.stack((tissue.gm, tissue.wm, tissue.csf, tissue.deep, tissue.ventricles))
    gm, wm, csf, deep, ventricles = warp(maps, inwards - away / distance * moved, template(size).box)
    pressure = EFFACED * near
    rest = np.clip((csf - pressure) / (1 - pressure), 0, None)
    filled = 1 + (csf - rest) / np.maximum(gm + wm, 1e-3) * (gm + wm > 0.02)
    rest = np.where(gm + wm > 0.02, rest, csf)
    left = rest / np.maximum(csf, 1e-3)
    return replace(tissue, gm=gm * filled, wm=wm * filled, csf=rest, deep=deep, ventricles=ventricles * left)
