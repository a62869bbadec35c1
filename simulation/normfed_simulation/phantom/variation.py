"""What makes healthy tissue uneven: tracts, limbic cortex, iron, the ventricles' lining, choroid plexus, flow.

On FLAIR these are the bright rims and spots that plain intensity takes for lesions. Sizes are relative to white matter
and set so that levels, spreads and quantiles agree with real scans (`benchmarks/bench_phantom.py`).
Sources: limbic cortex and insula (Hirai 2000), lining and caps (Sze 1986), pulsating fluid (Bakshi 2000), iron in the
deep nuclei (Hallgren 1958).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from normfed_simulation.phantom.anatomy import REFERENCE_AGE, Tissue
from normfed_simulation.phantom.fields import logistic, smooth_noise
from normfed_simulation.phantom.template import centrality, positions_mm, template

Place = tuple[float, float, float, float, float, float, float]  # |x|, y, z and radii in mm; size

# Of grey matter on FLAIR: hippocampus and amygdala, insula, cingulate gyrus.
GREY: tuple[Place, ...] = (
    (24, -4, -20, 9, 9, 9, 0.24),
    (27, -20, -14, 8, 12, 8, 0.08),
    (39, 4, 0, 8, 22, 15, 0.09),
    (0, 8, 32, 9, 45, 20, 0.04),
)
# Of white matter on FLAIR: optic radiation, corticospinal tract, centrum semiovale; the corpus callosum is dark.
WHITE: tuple[Place, ...] = (
    (30, -62, 12, 12, 25, 14, 0.07),
    (24, -18, 8, 6, 9, 22, 0.10),
    (24, -40, 34, 12, 22, 12, 0.12),
    (23, 22, 24, 12, 22, 14, 0.12),
    (0, 28, 6, 16, 8, 9, -0.13),
    (0, -38, 14, 16, 9, 9, -0.14),
)
# Of whatever lies there on FLAIR, with sharp borders: iron makes putamen, pallidum, caudate and nigra dark.
IRON: tuple[Place, ...] = (
    (27, 3, 2, 5, 14, 9, -0.20),
    (18, -4, -1, 6, 8, 6, -0.13),
    (12, 13, 9, 6, 13, 10, -0.20),
    (9, -18, -11, 7, 7, 6, -0.06),
)
CAPS: tuple[Place, ...] = ((18, 34, 8, 10, 10, 12, 1.0), (28, -62, 10, 10, 20, 12, 1.4))
PLEXUS: tuple[Place, ...] = ((24, -40, 8, 8, 12, 12, 1.0), (10, -14, 14, 6, 18, 6, 0.5))
# Of white matter on T1: internal capsule, corpus callosum; of grey matter: the caudate.
TRACTS: tuple[Place, ...] = (
    (21, -6, 10, 6, 18, 12, 0.05),
    (0, 28, 6, 16, 8, 9, 0.07),
    (0, -38, 14, 16, 9, 9, 0.07),
)
CAUDATE: tuple[Place, ...] = ((13, 12, 9, 7, 15, 11, -0.10),)
# Of whatever is solid on T1: the brain stem, the thalamus, the pallidum hold much myelin.
CORE: tuple[Place, ...] = ((0, -27, -28, 14, 14, 24, 0.30), (12, -18, 8, 13, 15, 11, 0.09), (18, -4, -1, 7, 9, 7, 0.07))
BASE: tuple[Place, ...] = ((0, -20, -25, 25, 40, 25, 1.0), (0, -20, 0, 8, 30, 12, 1.0))  # where fluid pulsates
AGEING_PER_YEAR = 0.002  # of white matter on FLAIR
# White matter is uneven at every scale, in streaks that run outwards, and alike on both sides in part.
UNEVEN, UNEVEN_PER_YEAR = 0.075, 0.0008
NUCLEI = 0.10  # of the deep nuclei on T1: they hold more myelin than the cortex
# Of the cerebellum on T1, whose leaves are thinner than a voxel; and on FLAIR, times CEREBELLUM_FLAIR.
CEREBELLUM: tuple[Place, ...] = ((24, -62, -40, 22, 26, 18, 0.24), (0, -62, -34, 14, 20, 18, 0.16))
CEREBELLUM_FLAIR = 0.6
LINING, LINING_PER_YEAR = 0.14, 0.003


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
    spread = {"grey": 0.3, "white": 0.3, "iron": 0.3, "caps": 0.4, "plexus": 0.3, "flow": 0.6}
    strength = {part: float(np.exp(rng.normal(0, sd))) for part, sd in spread.items()}
    uneven = _uneven(broad, fine, size, rng)
    grey = strength["grey"] * _places(GREY, size) + 0.06 * broad + 0.05 * ribbon + 0.12 * np.clip(ribbon - 1, 0, None)
    white = strength["white"] * _places(WHITE, size) + AGEING_PER_YEAR * years
    white += (UNEVEN + UNEVEN_PER_YEAR * years) * uneven
    solid = tissue.gm + tissue.wm
    everywhere = CEREBELLUM_FLAIR * _places(CEREBELLUM, size) + strength["iron"] * _places(IRON, size, sharp=True)
    lining = max(LINING + LINING_PER_YEAR * years, 0.05) * strength["caps"]
    near = ndimage.gaussian_filter(tissue.ventricles, 1.6 / size) * 2
    far = ndimage.gaussian_filter(tissue.ventricles, 4.0 / size) * 3
    caps = _places(CAPS, size) * far * np.clip(1 + fine, 0, None)
    rim = lining * (near * np.clip(1 + 0.5 * ribbon, 0, None) + caps)
    plexus = np.clip(strength["plexus"] * _places(PLEXUS, size), 0, 1) * logistic((fine - 0.9) * 4) * tissue.ventricles
    flow = 0.07 * strength["flow"] * _places(BASE, size) * np.clip(1 + broad + ribbon, 0, 3) * tissue.csf
    flair = tissue.gm * grey + tissue.wm * white + (rim + everywhere) * solid + 1.3 * plexus + flow
    t1 = tissue.gm * (0.03 * ribbon + NUCLEI * centrality(size) + _places(CAUDATE, size))
    t1 += tissue.wm * (0.02 * broad + 0.015 * fine + _places(TRACTS, size)) + 0.4 * plexus
    t1 += solid * (_places(CORE, size) + _places(CEREBELLUM, size))
    return Variation(t1.astype(np.float32), flair.astype(np.float32))


def _uneven(broad: np.ndarray, fine: np.ndarray, voxel_size_mm: int, rng: np.random.Generator) -> np.ndarray:
    """How uneven white matter is, of unit variance about, float32 (X, Y, Z)."""
    streaks, middle = (smooth_noise(broad.shape, mm / voxel_size_mm, rng) for mm in (7.0, 10.0))
    streaks = streaks[tuple(template(voxel_size_mm).hull)]
    own = 0.4 * broad + 0.6 * middle + 0.55 * fine + 0.4 * streaks
    return 0.8 * own + 0.6 * own[::-1]  # the grid is the template's, and symmetric


@lru_cache(maxsize=16)
def _places(places: tuple[Place, ...], voxel_size_mm: int, sharp: bool = False) -> np.ndarray:
    """Bumps on both sides of the head, smooth or with borders, float32 (X, Y, Z)."""
    x, y, z = positions_mm(voxel_size_mm)
    total: np.ndarray = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    for along, front, up, *radii, height in places:
        squares = [((a - b) / r) ** 2 for a, b, r in zip((np.abs(x), y, z), (along, front, up), radii, strict=True)]
        square = squares[0] + squares[1] + squares[2]
        total += height * np.exp(-(square**3) if sharp else -0.7 * square)
    return total
