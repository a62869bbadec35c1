"""What a scan's file says of itself: where left is, how large voxels are, and a digest of what it shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from normfed_client.imaging.nifti import read

SAME_MM = 1.0  # qform and sform may put the corners of the field of view so far apart: headers are rounded


@dataclass(frozen=True)
class FileFacts:
    """Of one scan.

    Parameters
    ----------
    axes
        Of the array as stored, such as LAS.
    forms_apart_mm
        How far qform and sform put the same corner of the field of view from each other; 0 where only one is set.
    sides_apart
        Whether the two differ in which side is left.
    edges_mm
        Of a voxel, ascending.
    voxels
        Digest of the values along canonical axes, whatever the header, the type and the order of axes are.
    clipped
        Share of the values above the median of those that are not the least at exactly the largest.
    """

    axes: str
    forms_apart_mm: float
    sides_apart: bool
    edges_mm: tuple[float, float, float]
    voxels: str
    clipped: float


def file_facts(path: Path) -> FileFacts:
    """Read a scan whole.

    Raises
    ------
    ScanError
        If it cannot be read.
    """
    image = read(path)
    header = nibabel.load(path).header
    forms = [
        np.asarray(form)
        for form, code in (header.get_qform(coded=True), header.get_sform(coded=True))
        if form is not None and code
    ]
    apart, mirrored = 0.0, False
    if len(forms) == 2:
        apart = _apart_mm(forms[0], forms[1], image.data.shape)
        mirrored = bool(np.linalg.det(forms[0][:3, :3]) * np.linalg.det(forms[1][:3, :3]) < 0)
    x, y, z = sorted(float(edge) for edge in image.voxel_size_mm)
    digest = hashlib.sha256(f"{image.data.shape}".encode() + np.ascontiguousarray(image.data).tobytes())
    return FileFacts(
        axes="".join(nibabel.aff2axcodes(header.get_best_affine())),
        forms_apart_mm=apart,
        sides_apart=mirrored,
        edges_mm=(x, y, z),
        voxels=digest.hexdigest()[:32],
        clipped=_clipped(image.data),
    )


def _apart_mm(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The farthest that two affines put a corner of the field of view from each other."""
    ends = np.stack(np.meshgrid(*[(0, side - 1) for side in shape], indexing="ij"), -1).reshape(-1, 3)
    away = nibabel.affines.apply_affine(one, ends) - nibabel.affines.apply_affine(other, ends)
    return float(np.linalg.norm(away, axis=1).max())


def _clipped(data: np.ndarray) -> float:
    shown = data[data > data.min()]
    bright = shown[shown > np.median(shown)] if shown.size else shown
    return float((bright == bright.max()).mean()) if bright.size else 0.0
