"""The volume of a person's lesions."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.lesion_load import lesion_ml, lesion_ml_by_kind
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import ScanError

WHO = Participant("sub-1", "clinic", "MS")


def write(path: Path, data: np.ndarray, edges_mm: tuple[float, float, float] = (1, 1, 1)) -> Path:
    nibabel.Nifti1Image(data.astype(np.int16), np.diag([*edges_mm, 1])).to_filename(path)
    return path


def test_the_load_is_the_volume_of_the_masks_whatever_number_they_hold(tmp_path: Path) -> None:
    data = np.zeros((10, 10, 10))
    data[:5, :5, :5] = 3
    path = write(tmp_path / "a.nii.gz", data, (2, 2, 3))
    assert lesion_ml(Visit(WHO, None, {}, lesions=(Mask(path, "T1w", "MS"),))) == pytest.approx(125 * 12 / 1000)
    assert lesion_ml(Visit(WHO, None, {})) == 0


def test_of_several_labels_in_one_file_those_of_lesions_count(tmp_path: Path) -> None:
    data = np.zeros((10, 10, 10))
    data[0], data[1, :5], data[2] = 1, 2, 3
    path = write(tmp_path / "dseg.nii.gz", data)
    masks = (Mask(path, "T1w", "WMH", (1, 2)), Mask(path, "T1w", "MS", (7,)))
    visit = Visit(WHO, None, {}, lesions=masks, ignored=(Mask(path, "T1w", "ignore", (3,)),))
    assert lesion_ml_by_kind(visit) == {"WMH": pytest.approx(0.15), "MS": 0}


def test_a_mask_that_changes_is_read_again(tmp_path: Path) -> None:
    data = np.zeros((10, 10, 10))
    data[0] = 1
    path = write(tmp_path / "a.nii", data)
    os.utime(path, ns=(1, 1))  # clocks of file systems are coarse
    visit = Visit(WHO, None, {}, lesions=(Mask(path, "T1w", "MS"),))
    assert lesion_ml(visit) == pytest.approx(0.1)
    data[1] = 1
    write(path, data)
    assert lesion_ml(visit) == pytest.approx(0.2)


def test_a_mask_that_is_gone_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"gone.nii"):
        lesion_ml(Visit(WHO, None, {}, lesions=(Mask(tmp_path / "gone.nii", "T1w", "MS"),)))
