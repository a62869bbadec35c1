"""Where a visit lies on the template, and whether that can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from normfed_client.imaging import brain_extraction, diffusion, registration
from normfed_client.imaging.bids import Visit
from normfed_client.imaging.head_search import HeadSearch
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.steps import Steps
from normfed_client.imaging.template import BRAIN_LEVEL, Grid, common_grid, whole
from normfed_common.foundation.errors import ScanError
from normfed_common.study.preprocessing import PreprocessingConfig
from normfed_common.wording.installing import with_extra

MINIMUM_LIKENESS = 0.35
# With the rim. Right registrations had 0.25 and more here and 0.38 and more inside, wrong ones at most 0.35 here and
# 0.29 inside: it is the inside that separates, this only adds to it (benchmarks/RESULTS.md, whole heads).
MINIMUM_OF_HEAD = 0.24
GIVEN, TEMPLATE = "given", "template"  # where a brain mask is from, beside what finds them


@dataclass(frozen=True)
class Brain:
    """A mask of the brain, the modality on whose grid it lies, and where it is from."""

    image: Image
    modality: str
    source: str

    @property
    def mask(self) -> np.ndarray:
        """bool (X, Y, Z)."""
        found: np.ndarray = self.image.data > 0.5
        return found

    @property
    def said(self) -> list[object]:
        """What decides the mask beside the files: by whom it was found, and in which scan."""
        return [self.source, self.modality]


@dataclass(frozen=True)
class Placed:
    """A visit on the template: a matrix per scan from the template's world, the brain on the common grid, how well they
    agree."""

    matrices: dict[str, np.ndarray]
    brain: Brain | None
    mask: np.ndarray
    overlap: float


def place(
    visit: Visit,
    scans: dict[str, Image],
    reference: str,
    given: Brain | None,
    config: PreprocessingConfig,
    steps: Steps,
) -> Placed:
    """Register a visit: by its brain mask, else by the first brain found that passes the check, else as a whole head.

    Parameters
    ----------
    scans
        By modality.
    reference
        The modality that is registered to the template; the others are to it.
    given
        The brain mask that came with the visit.
    steps
        Where registrations are kept.

    Raises
    ------
    ScanError
        If none passes.
    """
    within = {m: np.eye(4) for m in scans}
    if not visit.in_template_space:
        within = diffusion.to_reference(scans, reference, steps)
    failure: ScanError | None = None
    for brain in _brains(visit, scans[reference], reference, given):
        to_reference = np.eye(4)
        search = HeadSearch(scans[reference]) if brain is None and not visit.in_template_space else None
        if not visit.in_template_space:
            try:
                to_reference = steps.array(
                    "affine",
                    [scans[reference].path, *([] if brain is None else [brain.image.path, scans[brain.modality].path])],
                    [] if brain is None else [*brain.said, within[brain.modality].tolist()],
                    partial(_to_template, scans[reference], reference, within, brain, search),
                )
            except RuntimeError as error:  # SimpleITK
                if brain is None or brain.source == GIVEN or "alloc" in str(error):
                    raise  # there is no other way, or it lacks memory: with more, this one may do
                continue
        matrices = {m: matrix @ to_reference for m, matrix in within.items()}
        try:
            return _checked(visit, scans[reference], matrices, reference, brain, search, config)
        except ScanError as error:
            failure = error
    assert failure is not None  # _brains ends with one
    raise failure


def _brains(visit: Visit, scan: Image, reference: str, given: Brain | None) -> Iterator[Brain | None]:
    if given is None and not visit.in_template_space:
        for source, mask in brain_extraction.brains(scan):
            yield Brain(Image(mask.astype(np.float32), scan.affine, scan.path), reference, source)
    yield given


def _to_template(
    scan: Image, reference: str, within: dict[str, np.ndarray], brain: Brain | None, search: HeadSearch | None
) -> np.ndarray:
    """World of the template to that of the reference scan: by its brain, or from where a search finds it."""
    t1, affine = whole("t1", 2)
    template = Image(t1, affine, Path("MNI152"))
    if search is not None:
        return registration.affine_of_head(template, t1 > BRAIN_LEVEL, scan, search.best()[0])
    assert brain is not None
    mask = brain.mask
    if brain.modality != reference:
        mask = registration.resample(brain.image, within[brain.modality], scan.data.shape, scan.affine) > 0.5
    return registration.affine(template, t1 > BRAIN_LEVEL, scan, mask)


def _checked(
    visit: Visit,
    scan: Image,
    matrices: dict[str, np.ndarray],
    reference: str,
    brain: Brain | None,
    search: HeadSearch | None,
    config: PreprocessingConfig,
) -> Placed:
    """The brain on the common grid, if it lies on the template's.

    A mask that was given overlaps with it; the template's own mask always does, so there the intensities must agree,
    those of the fluid and skull around it too; of a brain that was found both are asked.
    """
    grid = common_grid(config.voxel_size_mm)
    mask, overlap, likeness = grid.brain.copy(), 1.0, 1.0
    if brain is not None:
        on_grid = registration.resample(brain.image, matrices[brain.modality], grid.shape, grid.affine)
        mask = on_grid > 0.5
        overlap = 2 * float((mask & grid.brain).sum()) / float(mask.sum() + grid.brain.sum())
    if brain is None or brain.source != GIVEN:
        likeness = _likeness(registration.resample(scan, matrices[reference], grid.shape, grid.affine), grid)
    faults = []
    if overlap < config.minimum_overlap:
        needed = config.minimum_overlap
        faults.append(f"overlap of the registered brain with the template's {overlap:.2f} where {needed:.2f} is needed")
    if likeness < MINIMUM_LIKENESS:
        faults.append(f"likeness to the template {likeness:.2f} where {MINIMUM_LIKENESS:.2f} is needed")
    if search is not None:
        with_rim = search.likeness(matrices[reference])
        if with_rim < MINIMUM_OF_HEAD:
            faults.append(f"likeness of brain and rim {with_rim:.2f} where {MINIMUM_OF_HEAD:.2f} is needed")
    if not registration.plausible(matrices[reference]):
        faults.append("the affine stretches beyond what brains differ by")
    if faults:
        raise ScanError(
            f"{visit.name}: registration to MNI152 failed, {', and '.join(faults)}. "
            f"Look at the scan; give a brain mask{_or_the_extra(brain)}, or list the subject under data.exclude."
        )
    return Placed(matrices, brain, mask, overlap if brain else likeness)


def _or_the_extra(brain: Brain | None) -> str:
    if brain is not None or brain_extraction.installed():
        return ""
    return f" (or {with_extra(brain_extraction.EXTRA)}, which finds most)"


def _likeness(image: np.ndarray, grid: Grid) -> float:
    """Correlation ratio of the scan given the template's intensity, in the template's brain (Roche 1998)."""
    t1, affine = whole("t1", grid.voxel_size_mm)
    start = np.round((grid.affine[:3, 3] - affine[:3, 3]) / np.diag(affine)[:3]).astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, grid.shape, strict=True))
    level = np.clip((t1[box][grid.brain] * 32).astype(int), 0, 31)
    values = image[grid.brain].astype(float)
    counts, sums = np.bincount(level, minlength=32), np.bincount(level, values, 32)
    explained = (counts * (sums / np.maximum(counts, 1) - values.mean()) ** 2).sum()
    return float(np.sqrt(explained / max(((values - values.mean()) ** 2).sum(), 1e-12)))
