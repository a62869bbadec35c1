"""What sets the phantom apart from real scans: contrast, noise, fluid, bright rims, lesions, texture and age.

    python benchmarks/bench_phantom.py [--real BIDS] [--leave-out SITE ...] [--study FILE] [--pictures DIR]

Both sides come through the project's own preprocessing, and the same estimators look at both. Levels are medians over
normal voxels of a tissue: where the template's share is above .8, one voxel in from its border. Inner grey is mostly
cerebellum, limbic cortex and nuclei; cortex, which is thin, is what that erosion took away. Noise is the scaled median
absolute deviation of x minus the mean of its six neighbours, in deep white matter, divided by sqrt(7/6), its value for
white noise of unit variance.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from common import machine
from PIL import Image as Picture
from scipy import ndimage
from scipy.stats import theilslopes
from sklearn.metrics import average_precision_score, roc_auc_score

from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry, default_root
from normfed_client.imaging.cohort import kind, person_of
from normfed_client.imaging.preparation import prepare_all
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.learning.cohort import Scan
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_simulation.phantom import hospitals

MODALITIES = ("T1w", "FLAIR")
SHOWN, SLICES_MM = 12, (-22, 4, 22, 40)  # people of each mosaic, heights of their axial slices
VENTRICLES_MM = ((-40, 40), (-65, 40), (-12, 42))  # a box around the lateral ventricles, of every age
FEWEST = 100  # voxels for a level
WORKERS = 2


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


@lru_cache(maxsize=1)
def regions() -> Regions:
    """Of the template at 2 mm."""
    seen, grid = anatomy(2), common_grid(2)
    inner = ndimage.distance_transform_edt(grid.brain) > 10
    axes = [np.arange(n) * 2 + origin for n, origin in zip(grid.shape, grid.affine[:3, 3], strict=True)]
    box = [(low < axis) & (axis < high) for axis, (low, high) in zip(axes, VENTRICLES_MM, strict=True)]
    central = np.einsum("i,j,k->ijk", *box).astype(bool) & inner
    grey = seen.grey > 0.8
    return Regions(
        ndimage.binary_erosion(seen.white > 0.8),
        ndimage.binary_erosion(grey),
        grey & ~ndimage.binary_dilation(ndimage.binary_erosion(grey)),
        ndimage.binary_erosion(seen.fluid > 0.8),
        (seen.grey + seen.fluid > 0.5) & ~inner,
        central,
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


def lesion_figures(
    subject: Subject, flair: np.ndarray | None, mask: np.ndarray, normal: np.ndarray
) -> dict[str, float]:
    """Volume, and how well plain FLAIR tells lesion from the rest."""
    lesion = subject.entry.lesion()
    if not lesion.any():
        return {}
    count = ndimage.label(lesion, np.ones((3, 3, 3)))[1]
    found = {f"{subject.kind}: ml": float(lesion.sum()) * 8e-3, f"{subject.kind}: pieces": float(count)}
    if flair is not None:
        middle = np.median(flair[lesion])
        white = np.median(flair[regions().white & normal])
        found |= {
            f"{subject.kind}: FLAIR / white": float(middle / white),
            f"{subject.kind}: normal brighter than its median, %": 100 * float((flair[normal] > middle).mean()),
            f"{subject.kind}: AUROC of FLAIR": float(roc_auc_score(lesion[mask], flair[mask])),
            f"{subject.kind}: AP of FLAIR": float(average_precision_score(lesion[mask], flair[mask])),
        }
    return found


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
    if "T1w" in images:
        t1, parts = images["T1w"], regions()
        levels = [np.median(t1[region & normal]) for region in (parts.fluid, parts.inner_grey)]
        inside = parts.ventricles & scan.mask & (t1 < np.mean(levels))
        found["ventricles: ml"] = float(inside.sum()) * 8e-3
    return found | lesion_figures(subject, images.get("FLAIR"), scan.mask, normal)


def prepared(root: Path, study: StudyConfig, left_out: Iterable[str]) -> list[Subject]:
    """Everybody's first visit that has a T1 or a FLAIR."""
    visits: dict[str, Visit] = {}
    for visit in read_dataset(root).visits:
        if visit.participant.site not in left_out and not {*MODALITIES}.isdisjoint(visit.images):
            visits.setdefault(visit.participant.subject, visit)
    cache, recipe = default_root() / "scans", Recipe(study.preprocessing, MODALITIES, None)
    done = prepare_all(list(visits.values()), recipe, cache, WORKERS)
    for problem in done.problems:
        print(f"left out: {problem.why}")
    failed = {problem.what for problem in done.problems}
    return [
        Subject(visit, prepare(visit, recipe, Cache(cache)), kind(visit, study.data))
        for visit in visits.values()
        if visit.name not in failed
    ]


def by_site(subjects: list[Subject]) -> dict[str, list[dict[str, float]]]:
    """Everybody's figures, and the slope of the ventricles over the ages of all."""
    found = defaultdict(list)
    for subject in subjects:
        age = subject.visit.participant.age
        found[subject.visit.participant.site].append(figures(subject) | ({} if age is None else {"age": age}))
    return found


def slope(people: list[dict[str, float]]) -> float:
    """ml of ventricle per year, by Theil and Sen's median."""
    pairs = [(row["age"], row["ventricles: ml"]) for row in people if "age" in row and "ventricles: ml" in row]
    return float(theilslopes(*np.transpose(pairs)[::-1])[0]) if len({age for age, _ in pairs}) > 2 else float("nan")


def cell(sites: list[list[dict[str, float]]], key: str) -> str:
    """Median over people, and the range: of the sites' medians, of people for what lesions have."""
    values = [np.array([row[key] for row in site if key in row]) for site in sites]
    values = [found for found in values if len(found)]
    if not values:
        return "-"
    own = key.partition(":")[0] not in ("T1", "FLAIR")
    spread = np.concatenate(values) if own else np.array([np.median(found) for found in values])
    middle = f"{np.median(np.concatenate(values)):.3g}"
    return middle if len(spread) < 2 else f"{middle} ({spread.min():.3g} to {spread.max():.3g})"


def table(real: dict[str, list[dict[str, float]]], phantom: dict[str, list[dict[str, float]]]) -> None:
    """One line per figure: real, phantom, and the phantom's sites."""
    everybody = [row for side in (real, phantom) for site in side.values() for row in site]
    keys = sorted({key for row in everybody for key in row} - {"age"}, key=_order(everybody))
    print("figure | real | phantom | " + " | ".join(phantom))
    for key in keys:
        each = " | ".join(cell([site], key).partition(" ")[0] for site in phantom.values())
        print(f"{key} | {cell(list(real.values()), key)} | {cell(list(phantom.values()), key)} | {each}")
    slopes = [slope([row for site in side.values() for row in site]) for side in (real, phantom)]
    print(f"ventricles: ml a year | {slopes[0]:.2g} | {slopes[1]:.2g}")


def _order(rows: list[dict[str, float]]) -> object:
    first: dict[str, int] = {}
    for row in rows:
        for key in row:
            first.setdefault(key, len(first))
    groups = {"FLAIR": 0, "T1": 1, "ventricles": 2}
    return lambda key: (groups.get(key.partition(":")[0], 3), key.partition(":")[0], first[key])


def picture(subjects: list[Subject], channel: int, path: Path) -> None:
    """Four slices of twelve people, spread over the sites; black is 0 and white the brightest 0.3 % of the brain."""
    rows = []
    for subject in _spread([s for s in subjects if s.scan().present[channel]]):
        scan = subject.scan()
        image = np.array(scan.images[channel]) * scan.mask
        image = np.clip(image / np.percentile(image[scan.mask], 99.7), 0, 1)
        floor = common_grid(2).affine[2, 3]
        planes = [np.rot90(image[..., round((height - floor) / 2)]) for height in SLICES_MM]
        rows.append(np.concatenate(planes, 1))
    half = (len(rows) + 1) // 2
    rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
    whole = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], 1)
    Picture.fromarray(np.kron(whole * 255, np.ones((2, 2))).astype(np.uint8)).save(path)
    print(f"picture: {path}")


def _spread(subjects: list[Subject]) -> list[Subject]:
    """Every site in turn, patients and healthy people in turn within it."""
    queues: dict[tuple[str, str], list[Subject]] = defaultdict(list)
    for subject in subjects:
        queues[subject.visit.participant.site, subject.kind].append(subject)
    found = [s for turn in range(SHOWN) for queue in queues.values() for s in queue[turn : turn + 1]]
    return found[:SHOWN]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a BIDS dataset")
    parser.add_argument("--leave-out", nargs="*", default=[], help="its sites that do not count")
    parser.add_argument("--study", type=Path, default=Path(__file__).parents[1] / "studies" / "demo.yaml")
    parser.add_argument("--pictures", type=Path, default=Path("."), help="the folder for the mosaics")
    given = parser.parse_args()
    study = load_study(given.study)
    if study.data.phantom is None:
        parser.error(f"{given.study}: makes no phantom")
    print(machine())
    root = default_root() / "datasets" / "phantom" / hospitals.digest(study.data.phantom, study.seed)
    hospitals.write(study.data.phantom, study.seed, root, WORKERS)
    sides = {"phantom": prepared(root, study, ())}
    if given.real is None:
        print("No real column: --real names no BIDS dataset.")
    else:
        sides["real"] = prepared(given.real, study, given.leave_out)
    given.pictures.mkdir(parents=True, exist_ok=True)
    for side, subjects in sides.items():
        for channel, name in enumerate(MODALITIES):
            picture(subjects, channel, given.pictures / f"{side}-{name}.png")
    table(by_site(sides.get("real", [])), by_site(sides["phantom"]))


if __name__ == "__main__":
    main()
