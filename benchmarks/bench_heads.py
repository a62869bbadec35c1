"""Whole heads without a brain mask: whether they are registered, how well, and whether what is wrong is noticed.

    python benchmarks/bench_heads.py --data BIDS [--people N | --subjects SUBJECT ...] [--perturbed SUBJECT ...]
        [--misplaced N] [--size MM] [--out FILE]

Every T1w of the dataset that shows more than the brain is preprocessed without its mask, with the extra
`brain-extraction` where it is installed and without it. Where a mask is known, what is found is compared: Dice of the
brain, and how far the affine puts the corners of the brain's box from where it puts them with the mask. Then the same
of perturbed copies of some of them: turned, in the header or by resampling, moved, cut, brighter, stored otherwise. And
what the check makes of registrations that begin in the wrong place on purpose.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
from bench_models import markdown, told
from common import machine
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from normfed_client.imaging import brain_extraction, placement, registration
from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.head_search import HeadSearch
from normfed_client.imaging.nifti import Image, read, read_mask
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.registration import resample
from normfed_client.imaging.template import BRAIN_LEVEL, common_grid, whole
from normfed_common.foundation.errors import ScanError
from normfed_common.foundation.files import write_json
from normfed_common.study.preprocessing import PreprocessingConfig

OUTSIDE = 0.05  # share of the voxels outside the brain that are bright in a whole head, at the least
MISPLACED = "begun in a wrong place"
WRONG_MM = 15.0  # at the corners of the brain's box: beyond is a failure
MARGIN_MM = 10.0  # left below the brain where the neck is cut
NECK_MM = 60.0  # by which it is lengthened
Turned = tuple[nibabel.Nifti1Image, np.ndarray]  # a copy, and where the world of the first went, (4, 4)


@dataclass(frozen=True)
class Head:
    """A whole head, and the brain in it where it is known."""

    visit: Visit
    brain: nibabel.Nifti1Image | None


def heads(folder: Path, people: int | None, subjects: Sequence[str] = ()) -> Iterator[Head]:
    """The T1w of the dataset that show more than the brain; at most so many a site, or these people's."""
    for visits in read_dataset(folder).sites().values():
        named = [visit for visit in visits if not subjects or visit.participant.subject in subjects]
        found = (head for visit in named if (head := _head(visit)) is not None)
        yield from (head for _, head in zip(range(people or len(visits)), found, strict=False))


def _head(visit: Visit) -> Head | None:
    if visit.in_template_space or "T1w" not in visit.images:
        return None
    visit = replace(visit, images={"T1w": visit.images["T1w"]}, lesions=(), ignored=())
    scan = read(visit.images["T1w"])
    if visit.brain is None or visit.brain.modality != "T1w":
        return None if brain_extraction.stripped(scan) is not None else Head(replace(visit, brain=None), None)
    brain = read_mask(visit.brain.path, scan).data > 0.5
    bright = scan.data[~brain] > np.median(scan.data[brain]) / 3
    return Head(visit, nibabel.load(visit.brain.path)) if bright.mean() > OUTSIDE else None


def turned(angles: Sequence[float], resampled: bool) -> Callable[[nibabel.Nifti1Image], Turned]:
    """By these angles in degrees (pitch, roll, yaw) about the middle of the field of view."""

    def change(image: nibabel.Nifti1Image) -> Turned:
        middle = nibabel.affines.apply_affine(image.affine, (np.array(image.shape) - 1) / 2)
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        turn[:3, 3] = middle - turn[:3, :3] @ middle
        if not resampled:
            return _like(image, image.get_fdata(dtype=np.float32), turn @ image.affine), turn
        source = Image(image.get_fdata(dtype=np.float32), image.affine, Path("x"))
        data = resample(source, np.linalg.inv(turn), image.shape, image.affine)
        return _like(image, data, image.affine), turn

    return change


def moved(shift_mm: np.ndarray) -> Callable[[nibabel.Nifti1Image], Turned]:
    """In the header."""

    def change(image: nibabel.Nifti1Image) -> Turned:
        shift = np.eye(4)
        shift[:3, 3] = shift_mm
        return _like(image, image.get_fdata(dtype=np.float32), shift @ image.affine), shift

    return change


def scaled(factor: float) -> Callable[[nibabel.Nifti1Image], Turned]:
    """Intensities."""
    return lambda image: (_like(image, factor * image.get_fdata(dtype=np.float32), image.affine), np.eye(4))


def stored(axes: str) -> Callable[[nibabel.Nifti1Image], Turned]:
    """Along other axes, in the same place."""

    def change(image: nibabel.Nifti1Image) -> Turned:
        return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(axes))), np.eye(4)

    return change


def necked(millimetres: float) -> Callable[[nibabel.Nifti1Image], Turned]:
    """With more below, the lowest slice again and again, or (negative) less: the axes of the array stay."""

    def change(image: nibabel.Nifti1Image) -> Turned:
        upright = nibabel.as_closest_canonical(image)
        data, affine = upright.get_fdata(dtype=np.float32), upright.affine.copy()
        slices = round(millimetres / float(np.linalg.norm(affine[:3, 2])))
        data = np.pad(data, ((0, 0), (0, 0), (slices, 0)), mode="edge") if slices > 0 else data[:, :, -slices:]
        affine[:3, 3] -= slices * affine[:3, 2]
        return nibabel.Nifti1Image(data, affine), np.eye(4)

    return change


def perturbations(head: Head) -> dict[str, Callable[[nibabel.Nifti1Image], Turned]]:
    """By name; the neck is cut below the brain, where that is known."""
    found = {}
    for number, axis in enumerate(("pitch", "roll", "yaw")):
        for angle in (-30, -15, 15, 30):  # the larger by resampling, which takes some of the head out of view
            angles = [0.0, 0.0, 0.0]
            angles[number] = angle
            found[f"{axis} {angle:+d}"] = turned(angles, resampled=abs(angle) > 20)
    found |= {f"moved {axis} 40 mm": moved(shift) for axis, shift in zip("xyz", 40 * np.eye(3), strict=True)}
    if head.brain is not None:
        brain = nibabel.as_closest_canonical(head.brain)
        lowest = np.flatnonzero((brain.get_fdata() > 0.5).any((0, 1)))[0] * float(np.linalg.norm(brain.affine[:3, 2]))
        found["neck cut"] = necked(-max(lowest - MARGIN_MM, 0.0))
    found["neck long"] = necked(NECK_MM)
    found |= {f"intensity x {factor}": scaled(factor) for factor in (0.5, 2.0)}
    return found | {f"stored {axes}": stored(axes) for axes in ("PSR", "LAS")}


def _like(image: nibabel.Nifti1Image, data: np.ndarray, affine: np.ndarray) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(data.astype(np.float32), affine)


@dataclass(frozen=True)
class Found:
    """What came of a scan: why it was refused, if it was; where its brain is known, Dice and the affine's error."""

    kind: str
    name: str
    way: str
    refused: str
    dice: float
    error_mm: float
    seconds: float  # of one processor
    agreement: float = np.nan  # with the template, as the check has it
    with_rim: float = np.nan  # the same of brain and rim


def found(head: Head, kind: str, recipe: Recipe, extra: bool, truth: np.ndarray | None) -> Found:
    """Preprocess a head without its mask.

    Parameters
    ----------
    truth
        World of the template to that of the scan as its mask has it, (4, 4), if it has one.
    """
    visit = replace(head.visit, brain=None)
    way = (brain_extraction.installed() if extra else None) or "template"
    kept = brain_extraction.installed() if extra else None
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(brain_extraction, "installed", return_value=kept),
    ):
        begun = time.process_time()
        try:
            entry = prepare(visit, recipe, Cache(Path(folder)))
        except ScanError as error:
            seconds = time.process_time() - begun
            of_head = Found(kind, visit.name, way, "", np.nan, np.nan, 0) if extra else _as_head(kind, head, way, truth)
            return replace(of_head, refused=str(error), seconds=seconds)
        seconds = time.process_time() - begun
        meta, mask = entry.meta(), entry.mask()
    matrix, agreement = np.array(meta["to_reference"]), float(meta["overlap"])
    dice = error_mm = np.nan
    if truth is not None and head.brain is not None:
        grid = common_grid(recipe.config.voxel_size_mm)
        true = Image(head.brain.get_fdata(dtype=np.float32), head.brain.affine, Path("x"))
        brain = resample(true, matrix, grid.shape, grid.affine) > 0.5
        dice = 2 * float((brain & mask).sum()) / float(brain.sum() + mask.sum())
        error_mm = float(np.linalg.norm((matrix - truth)[:3] @ corners(), axis=0).max())
    with_rim = HeadSearch(read(visit.images["T1w"])).likeness(matrix)
    return Found(kind, visit.name, way, "", dice, error_mm, seconds, agreement, with_rim)


def _as_head(kind: str, head: Head, way: str, truth: np.ndarray | None, start: np.ndarray | None = None) -> Found:
    """What the search for the brain finds, believed or not; or registration from another start."""
    scan, (t1, affine) = read(head.visit.images["T1w"]), whole("t1", 2)
    begun = time.process_time()
    search, template = HeadSearch(scan), Image(t1, affine, Path("MNI152"))
    begins = search.best()[0] if start is None else start
    matrix = registration.affine_of_head(template, t1 > BRAIN_LEVEL, scan, begins)
    seconds, grid = time.process_time() - begun, common_grid(2)
    error_mm = np.nan if truth is None else float(np.linalg.norm((matrix - truth)[:3] @ corners(), axis=0).max())
    agreement = placement._likeness(resample(scan, matrix, grid.shape, grid.affine), grid)
    with_rim = search.likeness(matrix)
    return Found(kind, head.visit.name, way, "", np.nan, error_mm, seconds, agreement, with_rim)


def misplaced(head: Head, truth: np.ndarray, number: int, random: np.random.Generator) -> Iterator[Found]:
    """Registrations that begin 15 to 45 mm and up to 45 degrees from where the mask puts the brain, small or large."""
    centre = np.array([0, -20, 10, 1])
    for _ in range(number):
        start, away = np.eye(4), random.normal(size=3)
        start[:3, :3] = Rotation.from_euler("xyz", random.uniform(-45, 45, 3), degrees=True).as_matrix()
        start[:3, :3] *= random.uniform(0.8, 1.1)
        start[:3, 3] = (truth @ centre)[:3] - start[:3, :3] @ centre[:3]
        start[:3, 3] += away / np.linalg.norm(away) * random.uniform(15, 45)
        yield _as_head(MISPLACED, head, "template", truth, start)


def corners() -> np.ndarray:
    """(4, 8), homogeneous: of the box around the template's brain, in mm."""
    grid = common_grid(4)
    inside = np.argwhere(grid.brain)
    ends = np.stack([inside.min(0), inside.max(0)])
    voxels = np.stack(np.meshgrid(*ends.T, indexing="ij"), -1).reshape(-1, 3)
    return np.vstack([nibabel.affines.apply_affine(grid.affine, voxels).T, np.ones(8)])


def copies(head: Head, folder: Path) -> Iterator[tuple[str, Head, np.ndarray]]:
    """Every perturbed copy, and where the first's world went."""
    scan = nibabel.load(head.visit.images["T1w"])
    for kind, change in perturbations(head).items():
        image, turn = change(scan)
        path = folder / f"{head.visit.name}_T1w.nii.gz"
        image.to_filename(path)
        brain = head.brain and change(nibabel.Nifti1Image(head.brain.get_fdata(dtype=np.float32), scan.affine))[0]
        yield kind, Head(replace(head.visit, images={"T1w": path}), brain), turn


def measured(given: argparse.Namespace) -> Iterator[Found]:
    """Every head, and the copies of those named, each way."""
    recipe = Recipe(PreprocessingConfig(voxel_size_mm=given.size), ("T1w",), None)
    ways = [False, True] if brain_extraction.installed() else [False]
    random = np.random.default_rng(0)
    for head in heads(given.data, given.people, given.subjects):
        name, truth = head.visit.name, None
        if head.brain is not None:
            with tempfile.TemporaryDirectory() as folder:
                begun = time.process_time()
                truth = np.array(prepare(head.visit, recipe, Cache(Path(folder))).meta()["to_reference"])
                yield Found("as it is", name, "given", "", 1.0, 0.0, time.process_time() - begun)
        for extra in ways:
            yield found(head, "as it is", recipe, extra, truth)
        if truth is not None:
            yield from misplaced(head, truth, given.misplaced, random)
        if head.visit.participant.subject in given.perturbed:
            with tempfile.TemporaryDirectory() as folder:
                for kind, copy, turn in copies(head, Path(folder)):
                    for extra in ways:
                        yield found(copy, kind, recipe, extra, None if truth is None else turn @ truth)


def table(rows: Sequence[Found]) -> list[str]:
    """A line per way and kind of copies."""
    lines = []
    rows = [row for row in rows if row.kind != MISPLACED]
    for copied in (False, True):
        for way in dict.fromkeys(row.way for row in rows):
            some = [row for row in rows if row.way == way and (row.kind != "as it is") == copied]
            if some:
                lines.append([way, "perturbed copies" if copied else "as they are", *_figures(some)])
    heading = [
        "brain by",
        "heads",
        "scans",
        "taken",
        "taken, of unknown truth",
        "right",
        "right, refused",
        "other, refused",
    ]
    return markdown([*heading, "wrong, taken", "Dice", "error, mm", "s a scan"], lines)


def rims(rows: Sequence[Found]) -> list[str]:
    """Likeness of brain and rim, where the template's brain was used: of right registrations and of wrong ones."""
    known = [row for row in rows if row.way == "template" and not np.isnan([row.error_mm, row.with_rim]).any()]
    groups = {"right": [row for row in known if row.error_mm <= WRONG_MM]}
    groups["wrong"] = [row for row in known if row not in groups["right"]]
    lines = []
    for name, some in groups.items():
        if some:
            at = np.quantile([row.with_rim for row in some], (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1))
            lines.append(
                [name, str(len(some)), str(len({row.name for row in some})), *(f"{value:.2f}" for value in at)]
            )
    return markdown(["", "registrations", "heads", "least", "5 %", "25 %", "50 %", "75 %", "95 %", "most"], lines)


def _figures(rows: Sequence[Found]) -> list[str]:
    taken = [row for row in rows if not row.refused]
    known = [row for row in taken if not np.isnan(row.error_mm)]
    wrong = [row for row in known if row.error_mm > WRONG_MM]
    right = [row for row in known if row not in wrong]
    refused = [row for row in rows if row.refused]
    in_place = sum(row.error_mm <= WRONG_MM for row in refused)
    counts = [len(rows), len(taken), len(taken) - len(known), len(right), in_place, len(refused) - in_place, len(wrong)]
    dice, error = ([getattr(row, what) for row in right] for what in ("dice", "error_mm"))
    return [
        *map(str, counts),
        f"{np.median(dice):.3f} (least {min(dice):.3f})" if dice else "",
        f"{np.median(error):.1f} (most {max(error):.1f})" if error else "",
        f"{np.median([row.seconds for row in rows]):.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a BIDS dataset")
    parser.add_argument("--people", type=int, help="scans of a site; all when absent")
    parser.add_argument("--subjects", nargs="+", default=(), help="these people alone")
    parser.add_argument("--misplaced", type=int, default=0, help="registrations of a head from wrong starts")
    parser.add_argument("--perturbed", nargs="+", default=(), help="people of whom there are perturbed copies")
    parser.add_argument("--size", type=int, default=2, help="of the common grid's voxels in mm")
    parser.add_argument("--out", type=Path, help="for every scan's figures, as JSON")
    given = parser.parse_args()
    print(machine())
    rows = []
    for row in measured(given):
        rows.append(row)
        figures = f"Dice {row.dice:.3f}, {row.error_mm:.1f} mm, likeness {row.agreement:.2f}, of rim {row.with_rim:.2f}"
        told(f"{row.name}, {row.kind}, {row.way}: {row.refused} {figures}")
        if given.out is not None:
            write_json(given.out, [vars(one) for one in rows])
    print("\n".join(["", *table(rows), "", *rims(rows)]), flush=True)


if __name__ == "__main__":
    main()
