"""Synthetic scanners: what vendor and field strength do to a T1 and a FLAIR of the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from normfed_common.study.data import Contrast, Vendor
from normfed_simulation.phantom.anatomy import Tissue, smooth_noise
from normfed_simulation.phantom.lesions import Lesion


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
        Rician standard deviation, relative to white matter on T1.
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
    noise: float
    blur_mm: float
    slice_mm: float
    scale: float


# Six scanners as in CC359: three vendors at 1.5 and 3 T. Higher field: less noise, more shading, flatter T1.
SCANNERS: dict[tuple[Vendor, float], Scanner] = {
    ("siemens", 1.5): Scanner((0.62, 0.92, 0.18), (0.66, 0.52, 0.10), 1.00, 0.10, 0.026, 0.7, 5.0, 900),
    ("siemens", 3.0): Scanner((0.58, 0.90, 0.14), (0.70, 0.54, 0.08), 0.95, 0.22, 0.022, 0.5, 3.0, 1500),
    ("ge", 1.5): Scanner((0.70, 0.94, 0.26), (0.62, 0.50, 0.14), 1.15, 0.14, 0.030, 0.9, 5.0, 4000),
    ("ge", 3.0): Scanner((0.64, 0.92, 0.20), (0.68, 0.56, 0.11), 1.05, 0.26, 0.025, 0.6, 3.0, 6000),
    ("philips", 1.5): Scanner((0.60, 0.88, 0.22), (0.64, 0.55, 0.13), 0.90, 0.12, 0.028, 0.8, 4.0, 300),
    ("philips", 3.0): Scanner((0.56, 0.90, 0.16), (0.72, 0.58, 0.09), 0.85, 0.24, 0.024, 0.6, 2.0, 500),
}


def scan(
    contrast: Contrast, scanner: Scanner, tissue: Tissue, lesion: Lesion | None, rng: np.random.Generator
) -> np.ndarray:
    """One image, int16 (X, Y, Z), as this scanner would store it."""
    gm, wm, csf = scanner.t1 if contrast == "T1w" else scanner.flair
    image = tissue.gm * gm + tissue.wm * wm + tissue.csf * csf
    image = image + tissue.deep * tissue.gm * ((wm - gm) * 0.8)
    if lesion is not None:
        image = image + (lesion.t1 if contrast == "T1w" else lesion.flair)
        if contrast == "T1w" and lesion.blur.any():
            smooth = ndimage.gaussian_filter(image, 2.0 / tissue.voxel_size_mm)
            image = image + lesion.blur * (smooth - image)
    size = tissue.voxel_size_mm
    through = max(scanner.slice_mm / 2.355 if contrast == "FLAIR" else scanner.blur_mm, 0)
    # A slice of thickness d blurs like a Gaussian of that full width; what the voxel itself blurs is there already.
    image = ndimage.gaussian_filter(image, [scanner.blur_mm / size, scanner.blur_mm / size, through / size])
    image = np.maximum(image, 0) ** (scanner.gamma * float(np.exp(rng.normal(0, 0.03))))
    image *= np.exp(scanner.bias * 0.5 * smooth_noise(image.shape, 60 / size, rng))
    sigma = scanner.noise * float(np.exp(rng.normal(0, 0.1)))
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    rician = np.hypot(real, sigma * rng.standard_normal(image.shape, dtype=np.float32))
    rician *= ndimage.binary_dilation(tissue.brain)  # skull-stripped, as datasets in template space are
    return np.clip(rician * scanner.scale * float(np.exp(rng.normal(0, 0.1))), 0, 32_000).astype(np.int16)
