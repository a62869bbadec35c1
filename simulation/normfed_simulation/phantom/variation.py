"""What makes healthy tissue uneven: tracts, limbic cortex, iron, the ventricles' lining, choroid plexus, flow.

On FLAIR these are the bright rims and spots that plain intensity takes for lesions. Sizes are relative to white matter
and set so that levels, spreads and quantiles agree with real scans (`benchmarks/bench_phantom.py`).
Sources: limbic cortex and insula (Hirai 2000), lining and caps (Sze 1986), pulsating fluid (Bakshi 2000), iron in the
pallidum (Hallgren 1958).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from normfed_simulation.phantom.anatomy import REFERENCE_AGE, Tissue, centrality, logistic, positions_mm, smooth_noise

Place = tuple[float, float, float, float, float, float, float]  # |x|, y, z and radii in mm; size

# Of grey matter on FLAIR: hippocampus and amygdala, insula, cingulate gyrus; the pallidum is dark.
GREY: tuple[Place, ...] = (
    (24, -10, -20, 11, 18, 10, 0.16),
    (39, 4, 0, 8, 22, 15, 0.10),
    (0, 8, 32, 9, 45, 20, 0.09),
    (18, -4, 0, 6, 8, 6, -0.12),
)
# Of white matter on FLAIR: optic radiation, corticospinal tract, centrum semiovale behind; the corpus callosum is dark.
WHITE: tuple[Place, ...] = (
    (30, -62, 12, 12, 25, 14, 0.09),
    (24, -18, 8, 6, 9, 22, 0.10),
    (24, -40, 34, 12, 22, 12, 0.05),
    (0, 28, 6, 16, 8, 9, -0.16),
    (0, -38, 14, 16, 9, 9, -0.14),
)
CAPS: tuple[Place, ...] = ((18, 34, 8, 10, 10, 12, 1.0), (28, -62, 10, 10, 14, 12, 1.0))
PLEXUS: tuple[Place, ...] = ((24, -40, 8, 8, 12, 12, 1.0), (10, -14, 14, 6, 18, 6, 0.5))
# Of white matter on T1: brain stem, internal capsule, corpus callosum; of grey matter: the caudate.
TRACTS: tuple[Place, ...] = (
    (0, -28, -28, 14, 14, 20, 0.12),
    (21, -6, 10, 6, 18, 12, 0.07),
    (0, 28, 6, 16, 8, 9, 0.07),
    (0, -38, 14, 16, 9, 9, 0.07),
)
CAUDATE: tuple[Place, ...] = ((13, 12, 9, 7, 15, 11, -0.10),)
BASE: tuple[Place, ...] = ((0, -20, -25, 25, 40, 25, 1.0), (0, -20, 0, 8, 30, 12, 1.0))  # where fluid pulsates
AGEING_PER_YEAR = 0.002  # of white matter on FLAIR
NUCLEI = 0.07  # of the deep nuclei on T1: they hold more myelin than the cortex
# Of the cerebellum on T1, whose leaves are thinner than a voxel; and less on FLAIR.
CEREBELLUM: tuple[Place, ...] = ((24, -62, -40, 22, 26, 18, 0.18), (0, -62, -34, 14, 20, 18, 0.10))
LINING, LINING_PER_YEAR = 0.10, 0.003


@dataclass(frozen=True)
class Variation:
    """Added to the images of even tissue, relative to white matter; float32 (X, Y, Z) each."""

    t1: np.ndarray
    flair: np.ndarray


def vary(tissue: Tissue, age: float, rng: np.random.Generator) -> Variation:
    """One person's."""
    size, shape = tissue.voxel_size_mm, tissue.gm.shape
    broad, fine, ribbon = (smooth_noise(shape, mm / size, rng) for mm in (18.0, 6.0, 8.0))
    years = age - REFERENCE_AGE
    strength = {place: float(np.exp(rng.normal(0, 0.3))) for place in ("grey", "white", "caps", "plexus", "flow")}
    grey = strength["grey"] * _places(GREY, size) + 0.3 * _places(CEREBELLUM, size) + 0.05 * broad + 0.05 * ribbon
    white = strength["white"] * _places(WHITE, size) + 0.025 * broad + 0.02 * fine + AGEING_PER_YEAR * years
    solid = tissue.gm + tissue.wm
    lining = max(LINING + LINING_PER_YEAR * years, 0.05) * strength["caps"]
    near = ndimage.gaussian_filter(tissue.ventricles, 1.6 / size) * 2
    far = ndimage.gaussian_filter(tissue.ventricles, 4.0 / size) * 3
    caps = _places(CAPS, size) * far * np.clip(1 + fine, 0, None)
    rim = lining * (near * np.clip(1 + 0.5 * ribbon, 0, None) + caps) * solid
    plexus = np.clip(strength["plexus"] * _places(PLEXUS, size), 0, 1) * logistic((fine - 1.1) * 4) * tissue.ventricles
    flow = 0.12 * strength["flow"] * _places(BASE, size) * np.clip(broad + ribbon, 0, 2) * tissue.csf
    flair = tissue.gm * grey + tissue.wm * white + rim + 0.9 * plexus + flow
    t1 = tissue.gm * (0.03 * ribbon + NUCLEI * centrality(size) + _places(CEREBELLUM, size) + _places(CAUDATE, size))
    t1 += tissue.wm * (0.02 * broad + 0.015 * fine + _places(TRACTS, size)) + 0.4 * plexus
    return Variation(t1.astype(np.float32), flair.astype(np.float32))


@lru_cache(maxsize=16)
def _places(places: tuple[Place, ...], voxel_size_mm: int) -> np.ndarray:
    """Smooth bumps on both sides of the head, float32 (X, Y, Z)."""
    x, y, z = positions_mm(voxel_size_mm)
    total: np.ndarray = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    for along, front, up, *radii, height in places:
        squares = [((a - b) / r) ** 2 for a, b, r in zip((np.abs(x), y, z), (along, front, up), radii, strict=True)]
        total += height * np.exp(-0.7 * (squares[0] + squares[1] + squares[2]))
    return total
