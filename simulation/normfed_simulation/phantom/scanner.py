"""Synthetic scanners: what vendor and field strength do to a T1 and a FLAIR of the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.study.data import Contrast, Vendor
from normfed_simulation.phantom.anatomy import Tissue
from normfed_simulation.phantom.fields import smooth_noise
from normfed_simulation.phantom.shapes import Lesion
from normfed_simulation.phantom.variation import Variation

GRAIN_MM = 1.1  # noise of neighbours is alike, standard deviation: scanners interpolate, and so does registration


@dataclass(frozen=True)
class Scanner:
    """How one scanner renders tissue.

    Parameters
    ----------
    t1, flair
        Intensity of grey matter, white matter, fluid.
    gamma
        Display curve.
    bias
        Depth of the smooth shading, relative.
    noise
        Rician standard deviation on T1 and on FLAIR, relative to white matter.
    blur_mm
        In plane, standard deviation.
    slice_mm
        Thickness of FLAIR slices.
    scale
        Of the stored integers.
    """

    t1: tuple[float, float, float]
    flair: tuple[float, float, float]
    gamma: float
    bias: float
    noise: tuple[float, float]
    blur_mm: float
    slice_mm: float
    scale: float


# Six scanners as in CC359: three vendors at 1.5 and 3 T. Higher field: less noise, more shading, a brighter cortex.
# Levels and noise lie in the bands of ten real sites at 2 mm (benchmarks/RESULTS.md).
SCANNERS: dict[tuple[Vendor, float], Scanner] = {
    ("siemens", 1.5): Scanner((0.62, 0.92, 0.38), (0.62, 0.52, 0.07), 1.00, 0.10, (0.014, 0.037), 0.7, 5.0, 900),
    ("siemens", 3.0): Scanner((0.58, 0.90, 0.34), (0.76, 0.54, 0.05), 0.95, 0.16, (0.010, 0.034), 0.5, 1.5, 1500),
    ("ge", 1.5): Scanner((0.64, 0.94, 0.46), (0.58, 0.50, 0.10), 1.15, 0.12, (0.018, 0.042), 0.9, 5.0, 4000),
    ("ge", 3.0): Scanner((0.61, 0.92, 0.40), (0.69, 0.56, 0.08), 1.05, 0.18, (0.011, 0.035), 0.6, 3.0, 6000),
    ("philips", 1.5): Scanner((0.54, 0.88, 0.36), (0.64, 0.55, 0.10), 0.90, 0.12, (0.015, 0.038), 0.8, 4.0, 300),
    ("philips", 3.0): Scanner((0.54, 0.90, 0.34), (0.75, 0.58, 0.06), 0.85, 0.18, (0.013, 0.056), 0.6, 2.0, 500),
}


def signal(
    contrast: Contrast,
    scanner: Scanner,
    tissue: Tissue,
    variation: Variation,
    lesion: Lesion | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """What the scanner sees of the head, without noise, float32 (X, Y, Z)."""
    size, t1 = tissue.voxel_size_mm, contrast == "T1w"
    image = _rendered(contrast, scanner, tissue, variation, lesion)
    # A slice of thickness d blurs like a Gaussian of that full width; what the voxel itself blurs is there already.
    through = scanner.blur_mm if t1 else scanner.slice_mm / 2.355
    image = ndimage.gaussian_filter(image, [scanner.blur_mm / size, scanner.blur_mm / size, through / size])
    image = np.maximum(image, 0) ** (scanner.gamma * float(np.exp(rng.normal(0, 0.03))))
    shaded: np.ndarray = image * np.exp(scanner.bias * 0.5 * smooth_noise(image.shape, 60 / size, rng))
    return shaded


def expose(
    contrast: Contrast,
    scanner: Scanner,
    image: np.ndarray,
    brain: np.ndarray,
    voxel_size_mm: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """The signal (X, Y, Z) with noise, skull-stripped to ``brain`` (bool), int16 as this scanner would store it."""
    t1 = contrast == "T1w"
    white = (scanner.t1 if t1 else scanner.flair)[1] ** scanner.gamma
    sigma = scanner.noise[0 if t1 else 1] * white * float(np.exp(rng.normal(0, 0.1)))
    through = GRAIN_MM if t1 else max(GRAIN_MM, scanner.slice_mm / 3.5)
    grain = [length / voxel_size_mm for length in (GRAIN_MM, GRAIN_MM, through)]
    real, imaginary = (sigma * _grainy(image.shape, grain, rng) for _ in range(2))
    rician = np.hypot(image + real, imaginary)
    rician *= ndimage.binary_dilation(brain)  # skull-stripped, as datasets in template space are
    return np.clip(rician * scanner.scale * float(np.exp(rng.normal(0, 0.1))), 0, 32_000).astype(np.int16)


def _rendered(
    contrast: Contrast, scanner: Scanner, tissue: Tissue, variation: Variation, lesion: Lesion | None
) -> np.ndarray:
    """What an ideal scanner of these levels would see, float32 (X, Y, Z)."""
    t1 = contrast == "T1w"
    gm, wm, csf = scanner.t1 if t1 else scanner.flair
    image = tissue.gm * gm + tissue.wm * wm + tissue.csf * csf
    image += tissue.deep * tissue.gm * ((wm - gm) * 0.8)
    image += wm * (variation.t1 if t1 else variation.flair)
    if lesion is None:
        return image
    image += lesion.fill * (wm - image)
    image += wm * (lesion.t1 if t1 else lesion.flair)
    if t1 and lesion.blur.any():
        smooth = ndimage.gaussian_filter(image, 2.0 / tissue.voxel_size_mm)
        image += lesion.blur * (smooth - image)
    return image


def _grainy(shape: tuple[int, ...], grain: list[float], rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise, smooth over ``grain`` voxels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), grain)
    return noise / max(float(noise.std()), 1e-6)
