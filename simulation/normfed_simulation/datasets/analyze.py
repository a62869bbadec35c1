"""Analyze 7.5 pairs, in which some old datasets come: BIDS does not have them, so a view holds them as NIfTI."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from normfed_common.foundation.errors import DatasetError

HEADER = ".hdr"  # of the pair; the voxels are in .img beside it


def convert(header: Path, target: Path) -> None:
    """Write a pair as one NIfTI file, whose first axis runs to the left as Analyze has it.

    Raises
    ------
    DatasetError
        If the pair cannot be read.
    """
    try:
        image = nibabel.load(header)
        data = np.asanyarray(image.dataobj)
    except (OSError, ImageFileError, ValueError) as error:
        raise DatasetError(f"{header}: not readable as an Analyze pair ({error}). Get both files again.") from error
    nibabel.Nifti1Image(data.reshape(data.shape[:3]), image.affine).to_filename(target)
