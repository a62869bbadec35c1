"""The brain of a scan that comes without a mask.

A skull-stripped scan says itself where its brain is. Of a whole head the extra `brain-extraction` finds it: deepbet
(Fisch 2024, MIT), whose weights are in its wheel, so that nothing is fetched at run time. It was trained on T1 of
healthy adults; what it finds is checked against the template like a mask that was given.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

from normfed_client.imaging.nifti import Image

PACKAGE = "deepbet"
EXTRA = "brain-extraction"
BACKGROUND_SHARE = 0.5  # of the voxels of a skull-stripped scan at the least, all of one value
BRAIN_ML = (500.0, 2200.0)  # any person's, fluid and stem included


def installed() -> str | None:
    """Name and version of what finds brains in whole heads; None without the extra."""
    return f"{PACKAGE} {version(PACKAGE)}" if importlib.util.find_spec(PACKAGE) else None


def brains(scan: Image) -> Iterator[tuple[str, np.ndarray]]:
    """What may be the scan's brain, surest first: by whom it was found, and bool (X, Y, Z); nothing, perhaps."""
    bare = stripped(scan)
    if bare is not None:
        yield "background", bare
        return
    found = extracted(scan)
    if found is not None:
        yield str(installed()), found


def stripped(scan: Image) -> np.ndarray | None:
    """bool (X, Y, Z): what a skull-stripped scan shows, holes filled; None of a scan that shows more, or less."""
    foreground = scan.data != scan.data.min()
    if foreground.mean() > 1 - BACKGROUND_SHARE:
        return None
    return _of_a_brains_size(ndimage.binary_fill_holes(_largest(foreground)), scan)


def extracted(scan: Image) -> np.ndarray | None:
    """bool (X, Y, Z): the brain that deepbet finds; None without the extra, or if it finds none."""
    if installed() is None:
        return None
    try:
        _, mask, _ = _network().run(nibabel.Nifti1Image(scan.data, scan.affine))
    except (AssertionError, ValueError):  # deepbet: not enough foreground, or none
        return None
    return _of_a_brains_size(np.asarray(mask.dataobj) > 0, scan)


@lru_cache(maxsize=1)
def _network() -> Any:
    from deepbet import BrainExtraction

    return BrainExtraction(no_gpu=True)  # the same on every machine, and several processes share none


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    found: np.ndarray = labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else mask
    return found


def _of_a_brains_size(mask: np.ndarray, scan: Image) -> np.ndarray | None:
    ml = mask.sum() * float(np.prod(scan.voxel_size_mm)) / 1000
    return mask if BRAIN_ML[0] <= ml <= BRAIN_ML[1] else None
