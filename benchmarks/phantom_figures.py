"""What an image tells of contrast, noise, texture, folds, ventricles and lesions: one estimator for real and synthetic.

Levels are medians over normal voxels of a tissue: where the template's share is above .8, one voxel in from its border.
Inner grey is mostly cerebellum, limbic cortex and nuclei; cortex, which is thin, is what that erosion took away. Noise
is the scaled median absolute deviation of x minus the mean of its six neighbours, in deep white matter, divided by
sqrt(7/6), its value for white noise of unit variance. Folds are told on T1, by tissue's share at a depth below the
template's hull, above the nuclei and beside the midline: where sulci are shallow there is little fluid deep, and where
gyri are thick there is much white matter near the hull.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.cohort import person_of
from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.learning.cohort import Scan

MODALITIES = ("T1w", "FLAIR")
VENTRICLES_MM = ((-40, 40), (-65, 40), (-12, 42))  # a box around the lateral ventricles, of every age
DEPTHS_MM = ((2, 6), (6, 12), (12, 20))  # below the hull
FOLDS_MM = (16, 8)  # higher, and farther from the midline
AGES = (40, 60, 75)
FEWEST = 100  # voxels for a level
BANDS_MM = ((2.5, 5.0), (4.0, 8.0), (8.0, 16.0))  # of unevenness: standard deviations of two Gaussian filters
BASE_MM = ((-34, 34), (-50, 24), (-34, -2))  # a box around the basal cisterns
PARTIAL = (0.3, 0.6, 0.8)  # of white matter's level: darker is fluid, then fluid in part
# Ellipsoids on both sides: |x|, y, z of the middle and the radii, in mm.
PLACES_MM = {
    "pallidum": ((18, -4, 0), (5, 6, 5)),
    "putamen": ((27, 4, 2), (4, 10, 7)),
    "caudate": ((13, 14, 8), (4, 6, 6)),
    "thalamus": ((12, -18, 8), (7, 9, 6)),
    "amygdala": ((23, -4, -18), (6, 5, 5)),
    "insula": ((38, 4, 2), (4, 14, 10)),
    "corpus callosum, behind": ((0, -38, 14), (8, 6, 8)),
    "centrum semiovale": ((26, -36, 32), (7, 14, 8)),
    "frontal white matter": ((22, 34, 14), (6, 10, 10)),
    "brain stem": ((0, -26, -32), (9, 7, 9)),
    "cerebellum": ((24, -62, -36), (14, 14, 10)),
}
NEAR_MM = 6  # of the ventricles
VOXEL_ML = 8e-3


@dataclass(frozen=True)
class Subject:
    """A prepared person."""

    visit: Visit
    entry: Entry
    kind: str

    def scan(self) -> Scan:
        """The images."""
        return self.entry.scan(person_of(self.visit))


@dataclass(frozen=True)
class Regions:
    """Parts of the common grid, bool (X, Y, Z) each."""

    white: np.ndarray
    inner_grey: np.ndarray
    cortex: np.ndarray
    fluid: np.ndarray
    folds: np.ndarray
    ventricles: np.ndarray
    base: np.ndarray


@lru_cache(maxsize=1)
def regions() -> Regions:
    """Of the template at 2 mm."""
    seen, grid = anatomy(2), common_grid(2)
    inner = ndimage.distance_transform_edt(grid.brain) > 10
    axes = [np.arange(n) * 2 + origin for n, origin in zip(grid.shape, grid.affine[:3, 3], strict=True)]
    central, base = (
        np.einsum(
            "i,j,k->ijk", *[(low < axis) & (axis < high) for axis, (low, high) in zip(axes, box, strict=True)]
        ).astype(bool)
        for box in (VENTRICLES_MM, BASE_MM)
    )
    grey = seen.grey > 0.8
    return Regions(
        ndimage.binary_erosion(seen.white > 0.8),
        ndimage.binary_erosion(grey),
        grey & ~ndimage.binary_dilation(ndimage.binary_erosion(grey)),
        ndimage.binary_erosion(seen.fluid > 0.8),
        (seen.grey + seen.fluid > 0.5) & ~inner,
        central & inner,
        base,
    )


def noise(image: np.ndarray, where: np.ndarray) -> float:
    """Standard deviation of what one voxel has and its neighbours have not."""
    kernel = ndimage.generate_binary_structure(3, 1) / -6.0
    kernel[1, 1, 1] = 1.0
    rest = ndimage.convolve(image, kernel)[where]
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))) / np.sqrt(7 / 6))


def likeness(image: np.ndarray, where: np.ndarray, axis: int) -> float:
    """Correlation of neighbours along an axis, after what varies over more than 6 mm is taken out."""
    weight = np.maximum(ndimage.gaussian_filter(where.astype(np.float32), 3), 1e-3)
    rest = (image - ndimage.gaussian_filter(image * where, 3) / weight) * where
    both = where & np.roll(where, 1, axis)
    return float(np.corrcoef(rest[both], np.roll(rest, 1, axis)[both])[0, 1])


def shading(image: np.ndarray, where: np.ndarray) -> float:
    """Interquartile range of what varies over more than 10 mm, between parts of one tissue."""
    weight = ndimage.gaussian_filter(where.astype(np.float32), 5)
    broad = ndimage.gaussian_filter(image * where, 5)[where] / weight[where]
    return float(np.subtract(*np.percentile(broad, [75, 25])))


def unevenness(image: np.ndarray, where: np.ndarray, low_mm: float, high_mm: float) -> float:
    """Scaled median absolute deviation of a tissue, between two scales."""
    near, far = (
        ndimage.gaussian_filter(image * where, mm / 2) / np.maximum(ndimage.gaussian_filter(where * 1.0, mm / 2), 1e-3)
        for mm in (low_mm, high_mm)
    )
    rest = (near - far)[where]
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))))


@lru_cache(maxsize=1)
def places() -> dict[str, np.ndarray]:
    """`PLACES_MM` on the grid, bool (X, Y, Z) each."""
    grid = common_grid(2)
    x, y, z = (index * 2 + origin for index, origin in zip(np.indices(grid.shape), grid.affine[:3, 3], strict=True))
    return {
        name: sum(((a - m) / r) ** 2 for a, m, r in zip((abs(x), y, z), middle, radii, strict=True)) < 1
        for name, (middle, radii) in PLACES_MM.items()
    }


def place_figures(name: str, image: np.ndarray, mask: np.ndarray, normal: np.ndarray) -> dict[str, float]:
    """What differs from place to place: levels, unevenness, and fluid in part at the base; over white matter."""
    parts, solid = regions(), normal & mask
    white = parts.white & normal
    relative = image / np.median(image[white])
    found = {
        f"white matter uneven at {low}-{high} mm": unevenness(relative, white, low, high) for low, high in BANDS_MM
    }
    if name == "FLAIR":
        for part, where in (("folds", parts.folds & solid), ("base", parts.base & mask)):
            dark, half, nearly = (100 * float((relative[where] < level).mean()) for level in PARTIAL)
            found |= {f"{part}: fluid, %": dark, f"{part}: fluid in part, %": nearly - dark}
            found[f"{part}: fluid in large part, %"] = half - dark
    for place, inside in places().items():
        values = relative[inside & solid & (relative > 0.45)]
        if len(values) > FEWEST / 3:
            found[f"{place} / white"] = float(np.median(values))
    return {f"{name}: {key}": value for key, value in found.items()}


def contrast_figures(name: str, image: np.ndarray, mask: np.ndarray, normal: np.ndarray) -> dict[str, float]:
    """Levels, noise and texture of one image (X, Y, Z)."""
    parts = regions()
    tissues = {field: getattr(parts, field) & normal for field in ("white", "inner_grey", "cortex", "fluid")}
    if min(tissue.sum() for tissue in tissues.values()) < FEWEST:
        return {}
    level = {field: float(np.median(image[tissue])) for field, tissue in tissues.items()}
    sigma = noise(image, tissues["white"])
    dark = image < (level["fluid"] + level["cortex"]) / 2
    found = {
        "cortex-white contrast / noise": abs(level["cortex"] - level["white"]) / sigma,
        "inner grey-white contrast / noise": abs(level["inner_grey"] - level["white"]) / sigma,
        "cortex / white": level["cortex"] / level["white"],
        "inner grey / white": level["inner_grey"] / level["white"],
        "fluid / white": level["fluid"] / level["white"],
        "noise / white": sigma / level["white"],
        "spread of white / white": float(np.subtract(*np.percentile(image[tissues["white"]], [75, 25])))
        / level["white"],
        "shading of white / white": shading(image, tissues["white"]) / level["white"],
        "spread of cortex / white": float(np.subtract(*np.percentile(image[tissues["cortex"]], [75, 25])))
        / level["white"],
        "dark as fluid, % of brain": 100 * float(dark[mask].mean()),
        "dark as fluid, % of the folds": 100 * float(dark[mask & parts.folds].mean()),
        "likeness of neighbours, in plane": likeness(image, tissues["white"], 0),
        "likeness of neighbours, through": likeness(image, tissues["white"], 2),
    }
    for share in (1, 5, 25, 75, 95, 99, 99.9):
        found[f"quantile {share} % / white"] = float(np.percentile(image[normal], share)) / level["white"]
    return {f"{name}: {key}": value for key, value in found.items()}


def fold_figures(t1: np.ndarray, mask: np.ndarray, normal: np.ndarray) -> dict[str, float]:
    """Shares of fluid and of white matter by depth, and how wrinkled white matter is."""
    parts, grid = regions(), common_grid(2)
    level = {field: np.median(t1[getattr(parts, field) & normal]) for field in ("white", "cortex", "fluid")}
    x, _, z = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
    beside = np.abs(x * 2 + grid.affine[0, 3]) > FOLDS_MM[1]
    convexity = normal & mask & beside & (z * 2 + grid.affine[2, 3] > FOLDS_MM[0])
    depth = ndimage.distance_transform_edt(ndimage.binary_closing(mask, iterations=3), sampling=2)
    outside = convexity & ~ndimage.binary_dilation(parts.ventricles, iterations=2)
    bright, dark = t1 > (level["white"] + level["cortex"]) / 2, t1 < (level["fluid"] + level["cortex"]) / 2
    found = {}
    for low, high in DEPTHS_MM:
        here = outside & (depth > low) & (depth <= high)
        found[f"folds: fluid {low}-{high} mm deep, %"] = 100 * float(dark[here].mean())
        found[f"folds: white matter {low}-{high} mm deep, %"] = 100 * float(bright[here].mean())
    return found | {"folds: surface to volume of white matter, 1/mm": faces(bright & convexity) / 2}


def faces(mask: np.ndarray) -> float:
    """Sides of voxels between a mask and the rest, per voxel of the mask."""
    sides = sum(int((np.diff(mask.astype(np.int8), axis=axis) != 0).sum()) for axis in range(3))
    return sides / max(int(mask.sum()), 1)


def ventricles(t1: np.ndarray, mask: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """bool (X, Y, Z): fluid in the box around the lateral ventricles."""
    parts = regions()
    levels = [np.median(t1[region & normal]) for region in (parts.fluid, parts.inner_grey)]
    inside: np.ndarray = parts.ventricles & mask & (t1 < np.mean(levels))
    return inside


def lesion_figures(
    subject: Subject, images: dict[str, np.ndarray], mask: np.ndarray, normal: np.ndarray
) -> dict[str, float]:
    """Volume, number, size, place, border and brightness, and how well plain FLAIR tells lesion from the rest."""
    lesion = subject.entry.lesion()
    if not lesion.any():
        return {}
    labels, count = ndimage.label(lesion, np.ones((3, 3, 3)))
    sizes = np.sort(np.bincount(labels.ravel())[1:])
    found = {
        "ml": float(lesion.sum()) * VOXEL_ML,
        "pieces": float(count),
        "pieces of up to 5 voxels, %": 100 * float((sizes <= 5).mean()),
        "the largest piece's share, %": 100 * float(sizes[-1] / lesion.sum()),
        "sides of voxels at the border, per voxel": faces(lesion),
    }
    white = regions().white & normal & ~ndimage.binary_dilation(lesion, iterations=2)
    if "T1w" in images:
        found["T1 / white"] = float(np.median(images["T1w"][lesion]) / np.median(images["T1w"][white]))
    found |= _beside(lesion, ventricles(next(iter(images.values())), mask, normal))
    if "FLAIR" in images:
        flair = images["FLAIR"]
        middle, level = np.median(flair[lesion]), np.median(flair[white])
        within = lesion & ~ndimage.binary_erosion(lesion)
        around = ndimage.binary_dilation(lesion) & mask & ~lesion
        found |= {
            "FLAIR / white": float(middle / level),
            "spread of FLAIR / white": float(np.subtract(*np.percentile(flair[lesion], [75, 25])) / level),
            "FLAIR just within / white": float(np.median(flair[within]) / level),
            "FLAIR just outside / white": float(np.median(flair[around]) / level),
            "normal brighter than its median, %": 100 * float((flair[normal] > middle).mean()),
            "AUROC of FLAIR": float(roc_auc_score(lesion[mask], flair[mask])),
            "AP of FLAIR": float(average_precision_score(lesion[mask], flair[mask])),
        }
    return {f"{subject.kind}: {key}": value for key, value in found.items()}


def _beside(lesion: np.ndarray, fluid: np.ndarray) -> dict[str, float]:
    """How near the ventricles a lesion is, and what it leaves of the one on its side."""
    distance = ndimage.distance_transform_edt(~fluid, sampling=2)[lesion]
    x = (np.arange(lesion.shape[0]) * 2 + common_grid(2).affine[0, 3]).reshape(-1, 1, 1)
    side = np.sign((lesion * x).sum())
    volumes = [float((fluid & (side * sign * x > 0)).sum()) for sign in (1, -1)]
    return {
        "mm to the ventricles": float(np.median(distance)),
        f"within {NEAR_MM} mm of the ventricles, %": 100 * float((distance <= NEAR_MM).mean()),
        "ventricle of its side / of the other": volumes[0] / max(volumes[1], 1.0),
    }


def figures(subject: Subject) -> dict[str, float]:
    """All figures of one person."""
    scan, normal = subject.scan(), subject.entry.normal()
    images = {
        name: np.ascontiguousarray(image)
        for name, image, there in zip(MODALITIES, scan.images, scan.present, strict=True)
        if there
    }
    found: dict[str, float] = {}
    for name, image in images.items():
        found |= contrast_figures(name.removesuffix("w"), image, scan.mask, normal)
        found |= place_figures(name.removesuffix("w"), image, scan.mask, normal)
    if "T1w" in images:
        found |= fold_figures(images["T1w"], scan.mask, normal)
        fluid = ventricles(images["T1w"], scan.mask, normal)
        volume = float(fluid.sum()) * VOXEL_ML
        inside = ndimage.binary_erosion(fluid)
        if "FLAIR" in images and inside.sum() > FEWEST / 2:
            white = np.median(images["FLAIR"][regions().white & normal])
            found["FLAIR: choroid plexus (95 % of the ventricles) / white"] = float(
                np.percentile(images["FLAIR"][inside], 95) / white
            )
        found |= {"ventricles: ml": volume} | {f"ventricles: ml, {ages(subject)}": volume}
    return found | lesion_figures(subject, images, scan.mask, normal)


def ages(subject: Subject) -> str:
    """The age band."""
    age = subject.visit.participant.age
    if age is None:
        return "no age"
    return next((f"up to {limit} years" for limit in AGES if age <= limit), "older")
