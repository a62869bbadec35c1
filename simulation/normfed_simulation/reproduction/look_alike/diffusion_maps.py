"""Made-up maps of the diffusion tensor of a synthetic person, told from the T1w: FA is low in grey matter and in fluid
and high in white matter, MD is free water's in fluid. In Parkinson's disease FA is lowered in the substantia nigra
(Vaillancourt 2009, of de novo patients); no other difference is drawn."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

TISSUES = (0.25, 0.5, 0.8)  # fluid, grey and white matter in the T1w, as shares of the brain's 98th percentile
FA = (0.08, 0.15, 0.45)
MD_MM2_S = (3.0e-3, 0.85e-3, 0.75e-3)
NIGRA_MM, RADIUS_MM = ((10.0, -18.0, -11.0), (-10.0, -18.0, -11.0)), 6.0  # of MNI152
LEFT = 0.7  # of FA there


def write(t1: Path, brain: Path, stem: Path, parkinson: bool) -> None:
    """``STEM_param-FA_dwimap.nii.gz`` and the same of MD, on the grid of the T1w, which lies in MNI152 space."""
    scan = nibabel.load(t1)
    inside = np.asarray(nibabel.load(brain).dataobj) > 0
    values = np.asarray(scan.dataobj, float)
    tissue = values / np.percentile(values[inside], 98)
    anisotropy = np.interp(tissue, TISSUES, FA)
    if parkinson:
        anisotropy[_nigra(scan.affine, values.shape)] *= LEFT
    stem.parent.mkdir(parents=True, exist_ok=True)
    for name, image in (("FA", anisotropy), ("MD", np.interp(tissue, TISSUES, MD_MM2_S))):
        data = np.where(inside, image, 0).astype(np.float32)
        nibabel.Nifti1Image(data, scan.affine).to_filename(f"{stem}_param-{name}_dwimap.nii.gz")


def _nigra(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """bool (X, Y, Z)."""
    voxels = np.moveaxis(np.indices(shape), 0, -1)
    where = voxels @ affine[:3, :3].T + affine[:3, 3]
    near: np.ndarray = np.min([np.linalg.norm(where - centre, axis=-1) for centre in NIGRA_MM], axis=0) <= RADIUS_MM
    return near
