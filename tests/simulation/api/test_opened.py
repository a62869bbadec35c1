"""What an opened run gives of its people, beside what whole runs show in the journeys."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import RunError
from normfed_common.study.config import StudyConfig
from normfed_simulation.api.opened import OpenRun


def drawn(path: Path, values: list[int]) -> Path:
    """A mask of four voxels in a row."""
    image = nibabel.Nifti1Image(np.array(values, np.uint8).reshape(4, 1, 1), np.diag([2.0, 2.0, 2.0, 1.0]))
    nibabel.save(image, path)
    return path


@pytest.fixture
def opened(study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenRun:
    """A run with one person, who has three masks on the FLAIR, one of them with labels, and one on the T1w."""
    masks = (
        Mask(drawn(tmp_path / "wmh.nii", [1, 0, 0, 0]), "FLAIR", "WMH"),
        Mask(drawn(tmp_path / "labels.nii", [1, 2, 3, 0]), "FLAIR", "MS", (2,)),
        Mask(drawn(tmp_path / "stroke.nii", [0, 0, 0, 1]), "FLAIR", "stroke"),
        Mask(drawn(tmp_path / "t1w.nii", [0, 0, 1, 1]), "T1w", "tumour"),
    )
    visit = Visit(Participant("sub-01", "a", "patient"), None, {}, lesions=masks)
    run = object.__new__(OpenRun)
    run.folder, run.study = tmp_path, study
    monkeypatch.setattr(OpenRun, "_visit", lambda *_: ("a", visit))
    return run


def lesion(run: OpenRun, labels: tuple[str, ...] | None, modality: str | None = None) -> list[int]:
    data = run.study.data.model_copy(update={"lesion_labels": labels})
    run.study = run.study.model_copy(update={"data": data})
    found = run.lesion("sub-01", modality=modality)
    assert found is not None
    assert found.affine[0, 0] == 2.0
    values: list[int] = found.get_fdata().astype(int).ravel().tolist()
    return values


def test_a_lesion_is_all_that_the_study_evaluates(opened: OpenRun) -> None:
    """Once it was the first mask alone, while every figure is of all."""
    assert lesion(opened, ("WMH", "MS")) == [1, 1, 0, 0]
    assert lesion(opened, ("WMH", "MS", "stroke")) == [1, 1, 0, 1]
    assert lesion(opened, None, "FLAIR") == [1, 1, 0, 1]
    assert lesion(opened, None, "T1w") == [0, 0, 1, 1]


def test_lesions_on_several_scans_are_asked_for_by_scan(opened: OpenRun) -> None:
    with pytest.raises(RunError, match=r"lesions were drawn on FLAIR and T1w\. Say on which: modality='FLAIR'\."):
        opened.lesion("sub-01")
    assert opened.lesion("sub-01", modality="T2w") is None
