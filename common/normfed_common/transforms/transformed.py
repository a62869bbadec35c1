"""A cohort whose scans are transformed when they are opened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch

from normfed_common.learning.cohort import Cohort, Scan, Visits
from normfed_common.learning.setting import Setting
from normfed_common.transforms.base import ScanTransform

OPEN_BYTES = 2**30  # of transformed scans in memory: some 130 of two modalities at 2 mm


def transformed(scan: Scan, transforms: Sequence[ScanTransform]) -> Scan:
    """A scan after all transforms, in order; its images cannot be written to.

    Raises
    ------
    ValueError
        If a transform breaks what `ScanTransform.transform` promises; the text names it.
    """
    for transform in transforms:
        scan = _after(scan, transform)
    return scan


class TransformedCohort:
    """See `Cohort`.

    The transformed scans used last are kept, as many as fit into OPEN_BYTES.

    Parameters
    ----------
    transforms
        Learnt, at least one; applied in order.
    """

    def __init__(self, cohort: Cohort, transforms: Sequence[ScanTransform]) -> None:
        self.cohort, self.transforms = cohort, tuple(transforms)
        kept = max(4, OPEN_BYTES // _bytes(self.transforms[0].setting))
        self._open = lru_cache(maxsize=kept)(partial(_opened, cohort, self.transforms))

    def __len__(self) -> int:
        return len(self.cohort)

    def people(self) -> Sequence[Sequence[int]]:
        """Each person's scans."""
        return self.cohort.people()

    def scan(self, index: int) -> Scan:
        """Open a scan and transform it."""
        return self._open(index)


def transformed_visits(visits: Sequence[Scan], transforms: Sequence[ScanTransform]) -> Visits:
    """A person's visits, each transformed when it is looked at."""
    return Visits([partial(_visit, visits, number, transforms) for number in range(len(visits))])


def _opened(cohort: Cohort, transforms: Sequence[ScanTransform], index: int) -> Scan:
    return transformed(cohort.scan(index), transforms)


def _visit(visits: Sequence[Scan], number: int, transforms: Sequence[ScanTransform]) -> Scan:
    return transformed(visits[number], transforms)


def _after(scan: Scan, transform: ScanTransform) -> Scan:
    """The scan after one transform: whose it is, the mask and what counts as normal stay."""
    if transform.network is not None:
        transform.network.eval()
    with torch.no_grad():
        found = transform.transform(scan)
    fault = _fault(scan, found.images, found.present) or _beyond(transform, scan, found)
    if fault:
        raise ValueError(f"the transform {type(transform).__name__} returned {fault}")
    images = np.ascontiguousarray(found.images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    images.flags.writeable = False
    return replace(scan, images=images, present=found.present)


def _fault(scan: Scan, images: np.ndarray, present: np.ndarray) -> str | None:
    """What is wrong with images made of a scan; None where nothing is."""
    if images.shape != scan.images.shape:
        return f"images of shape {images.shape}, not of {scan.images.shape}"
    if images.dtype != np.float32:
        return f"images of {images.dtype}, not of float32"
    if present.shape != scan.present.shape or present.dtype != bool:
        return f"`present` of {present.dtype} and shape {present.shape}, not of bool and {scan.present.shape}"
    if not np.isfinite(images).all():
        return "values that are not finite"
    if images[:, ~scan.mask].any():
        return "values outside the brain that are not 0"
    if images[~present].any():
        return "values that are not 0 of a modality that is not present"
    return None


def _beyond(transform: ScanTransform, scan: Scan, found: Scan) -> str | None:
    """Which values are beyond the transform's `value_range`; None where none is."""
    values = found.images[found.present[:, None, None, None] & scan.mask]
    low, high = transform.value_range
    if not values.size or (values.min() >= low and values.max() <= high):
        return None
    return (
        f"values from {values.min():g} to {values.max():g}, and declares {low:g} to {high:g}: clip them, or let its "
        "`value_range` say what they can be"
    )


def _bytes(setting: Setting) -> int:
    """Of a scan: float32 images and a mask."""
    return (4 * len(setting.modalities) + 1) * math.prod(setting.shape)
