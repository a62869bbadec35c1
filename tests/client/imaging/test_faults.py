"""Every file of a visit is opened, and each fault is one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.faults import faults
from normfed_client.imaging.participants import Participant

SHAPE = (10, 11, 12)


def save(path: Path, data: np.ndarray, size_mm: float = 2.0) -> Path:
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), np.diag([size_mm] * 3 + [1])), path)
    return path


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    """A visit without a fault: its lesion mask is empty, which says that somebody looked."""
    rng = np.random.default_rng(0)
    ball = np.zeros(SHAPE)
    ball[3:7, 3:7, 3:7] = 1
    images = {name: save(tmp_path / f"sub-01_{name}.nii.gz", rng.random(SHAPE)) for name in ("T1w", "FLAIR")}
    brain = Mask(save(tmp_path / "brain.nii.gz", ball), "T1w", "brain")
    lesion = Mask(save(tmp_path / "MS.nii.gz", np.zeros(SHAPE)), "FLAIR", "MS")
    return Visit(Participant("sub-01", "a", "ms"), None, images, brain, (lesion,))


def test_a_visit_that_a_study_can_use_has_none(visit: Visit) -> None:
    assert faults(visit) == []
    assert faults(replace(visit, brain=None, lesions=())) == []


def test_every_fault_of_every_file_is_told(visit: Visit, tmp_path: Path) -> None:
    assert visit.brain is not None
    visit.images["T1w"].write_bytes(b"")
    lesion = Mask(save(tmp_path / "tumour.nii.gz", np.ones(SHAPE), size_mm=3.0), "FLAIR", "tumour")
    other = Mask(save(tmp_path / "FCD.nii.gz", np.random.default_rng(1).random(SHAPE)), "FLAIR", "FCD")
    found = faults(replace(visit, lesions=(*visit.lesions, lesion, other)))
    assert [Path(fault.partition(": ")[0]).name for fault in found] == [
        "sub-01_T1w.nii.gz",  # and not the brain mask that lies on it: nobody knows whether it is wrong
        "tumour.nii.gz",
        "FCD.nii.gz",
    ]


def test_an_empty_mask_is_a_fault_of_a_brain_only(visit: Visit, tmp_path: Path) -> None:
    assert visit.brain is not None
    save(visit.brain.path, np.zeros(SHAPE))
    (fault,) = faults(visit)
    assert fault.startswith(f"{visit.brain.path}: the mask is empty, every voxel is 0")


def test_a_mask_that_is_not_there_is_a_fault(visit: Visit) -> None:
    visit.lesions[0].path.unlink()
    (fault,) = faults(visit)
    assert fault.startswith(f"{visit.lesions[0].path}: no such file")
