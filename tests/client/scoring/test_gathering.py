"""Who is to be scored, by the names of files alone: these files are empty, and nothing opens them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cohorts
import nibabel
import numpy as np
import pytest

from normfed_client.scoring.asked import Gathered
from normfed_client.scoring.gathering import gather
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.data import DataConfig

DATA = DataConfig(modalities=("T1w", "FLAIR"))
T1 = DataConfig(modalities=("T1w",))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people."""
    return cohorts.write(tmp_path_factory.mktemp("cohort"), {"a": {"control": 3}})


def touched(root: Path, *places: str) -> list[Path]:
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    return [root / place for place in places]


def of(
    inputs: Sequence[Path],
    data: DataConfig = DATA,
    masks: Sequence[Path] = (),
    modalities: Mapping[str, Path] | None = None,
) -> Gathered:
    return gather(inputs, modalities or {}, masks, data)


def names(found: Gathered) -> list[str]:
    return [asked.visit.name for asked in found.asked]


def reasons(found: Gathered) -> list[str]:
    return [row.reason for row in found.refused]


def test_scans_whose_names_agree_are_one_person(tmp_path: Path) -> None:
    files = touched(tmp_path, "p_T1w.nii.gz", "q_FLAIR.nii", "q_ce-GAD_T1w.nii.gz", "q_T1w.nii.gz", "p_FLAIR.nii.gz")
    first, second = of(files).asked
    assert first.visit.images == {"T1w": files[0], "FLAIR": files[4]}
    assert set(second.visit.images) == {"FLAIR", "ce-GAD_T1w", "T1w"}


def test_acquisitions_and_runs_do_not_part_the_scans_of_a_bids_person_and_sessions_do(tmp_path: Path) -> None:
    files = touched(
        tmp_path,
        *("sub-1_ses-a_acq-mprage_T1w.nii.gz", "sub-1_ses-a_run-1_FLAIR.nii.gz"),
        *("sub-1_ses-b_T1w.nii.gz", "sub-1_ses-b_FLAIR.nii.gz"),
    )
    assert names(of(files)) == ["sub-1_ses-a", "sub-1_ses-b"]


def test_a_scan_of_a_dataset_is_of_the_visit_that_the_dataset_says(dataset: Path) -> None:
    scan = next((dataset / "sub-acontrol02" / "anat").glob("*_T1w.nii.gz"))
    (asked,) = of([scan]).asked
    assert set(asked.visit.images) == {"T1w", "FLAIR"}  # what lies beside it, too
    assert (asked.visit.participant.age, asked.named, asked.dataset) == (50, (scan,), dataset)
    assert asked.visit.brain is not None


def test_a_scan_is_in_its_dataset_by_whatever_path_it_is_named(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scan = next((dataset / "sub-acontrol02" / "anat").glob("*_T1w.nii.gz"))
    path = Path(os.path.relpath(scan))
    assert ".." in path.parts
    (asked,) = of([path]).asked
    assert asked.dataset == dataset


@pytest.mark.parametrize(("folder", "people"), [(".", 3), ("sub-acontrol01", 1), ("sub-acontrol01/anat", 1)])
def test_a_folder_of_a_dataset_is_of_the_people_in_it(dataset: Path, folder: str, people: int) -> None:
    found = of([dataset / folder])
    assert len(found.asked) == people
    assert all(len(asked.named) == 2 and asked.visit.brain is not None for asked in found.asked)


def test_the_people_of_a_dataset_without_sites_are_taken_by_their_names_which_is_said(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path, {"a": {"control": 2}})
    (data / "participants.tsv").write_text("participant_id\nsub-acontrol00\nsub-acontrol01\n")
    found = of([data])
    assert names(found) == ["sub-acontrol00", "sub-acontrol01"]
    assert all(asked.visit.brain is not None and asked.visit.in_template_space for asked in found.asked)
    assert len(found.notes) == 1
    assert "has no column 'site'" in found.notes[0].why


def test_beside_a_bids_scan_without_a_dataset_its_other_modalities_and_its_mask_are_found(tmp_path: Path) -> None:
    t1, flair, mask, *_ = touched(
        tmp_path,
        *("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz"),
        "derivatives/synthstrip/sub-1/anat/sub-1_space-T1w_desc-brain_mask.nii.gz",
        *("sub-1/anat/sub-1_run-1_T2w.nii.gz", "sub-1/anat/sub-1_run-2_T2w.nii.gz", "sub-2/anat/sub-2_FLAIR.nii.gz"),
        "derivatives/preproc/sub-1/anat/sub-1_desc-preproc_pet.nii.gz",
    )
    (asked,) = of([t1]).asked
    assert asked.visit.images == {"T1w": t1, "FLAIR": flair}  # of two T2w nobody knows which
    assert asked.named == (t1,)
    assert asked.visit.brain is not None
    assert (asked.visit.brain.path, asked.visit.brain.modality) == (mask, "T1w")


def test_of_scans_in_the_templates_space_native_ones_beside_are_no_part(tmp_path: Path) -> None:
    t1, *_ = touched(tmp_path, "sub-1_space-MNI152NLin6Asym_T1w.nii.gz", "sub-1_FLAIR.nii.gz")
    (asked,) = of([t1], T1).asked
    assert asked.visit.in_template_space
    assert set(asked.visit.images) == {"T1w"}


def test_a_folder_of_scans_is_walked_without_what_other_programs_have_made_of_them(tmp_path: Path) -> None:
    touched(tmp_path, "a/p_T1w.nii.gz", "b/q_T1w.nii.gz", "b/mask.nii.gz", "b/.hidden_T1w.nii.gz")
    touched(tmp_path, "derivatives/x/r_T1w.nii.gz", ".git/s_T1w.nii.gz")
    assert names(of([tmp_path], T1)) == ["sub-p", "sub-q"]


def test_whoever_lacks_a_modality_or_has_two_files_of_one_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    files = touched(tmp_path, "p_T1w.nii.gz", "q_T1w.nii.gz", "q_FLAIR.nii.gz")
    files += touched(tmp_path, *(f"{folder}/r_{m}.nii.gz" for folder in "ab" for m in ("T1w", "FLAIR")))
    files += touched(tmp_path, "dwi.nii.gz")
    found = of(files)
    assert names(found) == ["sub-q"]
    nameless, second, lacking = reasons(found)
    assert "dwi.nii.gz: the name does not say the modality" in nameless
    assert second.startswith(f"{tmp_path}/b/r_T1w.nii.gz: a second T1w of sub-r, beside {tmp_path}/a/r_T1w.nii.gz")
    assert lacking == (
        "sub-p: the model needs T1w, FLAIR; FLAIR is missing, and there is T1w. Give the files of one person together, "
        "here sub-p_FLAIR.nii.gz as well."
    )


def test_of_a_person_of_a_dataset_it_is_said_where_the_modality_was_expected(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 1}})
    t1, flair = (next(data.glob(f"sub-*/anat/*_{modality}.nii.gz")) for modality in ("T1w", "FLAIR"))
    flair.rename(flair.with_name(flair.name.replace("FLAIR", "flair")))
    (reason,) = reasons(of([t1]))
    assert reason.startswith(
        "sub-acontrol00: the model needs T1w, FLAIR, and the dataset has no FLAIR (expected "
        "sub-acontrol00/anat/sub-acontrol00_FLAIR.nii.gz; found sub-acontrol00/anat/sub-acontrol00_"
    )


def test_two_people_whose_folders_would_be_one_are_told_apart_by_nobody(tmp_path: Path) -> None:
    found = of(touched(tmp_path, "p 1_T1w.nii.gz", "p1_T1w.nii.gz"), T1)
    assert len(found.asked) == 1
    assert reasons(found) == [
        f"{tmp_path}/p1_T1w.nii.gz would be sub-p1, as {tmp_path}/p 1_T1w.nii.gz is. Rename one, or score it into "
        "another folder."
    ]


def test_scans_by_modality_are_one_person_and_of_modalities_of_the_study(tmp_path: Path) -> None:
    x, y, p = touched(tmp_path, "x.nii.gz", "y.nii.gz", "p_T1w.nii.gz")
    (asked,) = of([], modalities={"T1w": x, "FLAIR": y}).asked
    assert (asked.visit.name, asked.visit.images) == ("sub-x", {"T1w": x, "FLAIR": y})
    (asked,) = of([p], modalities={"FLAIR": y}).asked
    assert (asked.visit.name, asked.visit.images) == ("sub-p", {"T1w": p, "FLAIR": y})
    with pytest.raises(DatasetError, match=r"has no T2w: its modalities are T1w, FLAIR\."):
        of([], modalities={"T2w": x})
    with pytest.raises(DatasetError, match=r"are of one person, and sub-p, sub-q are given"):
        of([p, *touched(tmp_path, "q_T1w.nii.gz")], modalities={"FLAIR": y})


def test_masks_are_given_to_whom_their_names_tell_and_one_persons_may_be_called_anything(tmp_path: Path) -> None:
    p, q = touched(tmp_path, "p_T1w.nii.gz", "q_T1w.nii.gz")
    elsewhere = touched(tmp_path / "masks", "p_desc-brain_mask.nii.gz", "q_desc-brain_mask.nii.gz", "any.nii.gz")
    found = of([p, q], T1, elsewhere[:2])
    assert [asked.visit.brain and asked.visit.brain.path for asked in found.asked] == elsewhere[:2]
    (asked,) = of([p], T1, elsewhere[2:]).asked
    assert asked.visit.brain is not None
    assert asked.visit.brain.path == elsewhere[2]
    with pytest.raises(DatasetError, match=r"any\.nii\.gz: a brain mask of nobody .* such as sub-p_desc-brain_mask"):
        of([p, q], T1, elsewhere)
    with pytest.raises(DatasetError, match=r"q_desc-brain_mask\.nii\.gz: a second brain mask of sub-p, beside"):
        of([p], T1, elsewhere[:2])


def test_a_mask_without_a_session_is_of_all_of_its_persons(tmp_path: Path) -> None:
    scans = touched(tmp_path, "sub-1_ses-a_T1w.nii.gz", "sub-1_ses-b_T1w.nii.gz", "sub-2_T1w.nii.gz")
    (mask,) = touched(tmp_path / "m", "sub-1_desc-brain_mask.nii.gz")
    assert [asked.visit.brain is not None for asked in of(scans, T1, [mask]).asked] == [True, True, False]


def test_a_mask_lies_on_the_scan_whose_grid_it_has_where_the_name_does_not_say(tmp_path: Path) -> None:
    for name, size in (("p_T1w", 10), ("p_FLAIR", 12), ("mask", 12)):
        nibabel.save(nibabel.Nifti1Image(np.zeros((size,) * 3, np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    (asked,) = of([tmp_path / "p_T1w.nii.gz", tmp_path / "p_FLAIR.nii.gz"], masks=[tmp_path / "mask.nii.gz"]).asked
    assert asked.visit.brain is not None
    assert asked.visit.brain.modality == "FLAIR"


def test_what_is_not_there_is_said_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere: no such file or folder\. Give scans"):
        of([tmp_path / "nowhere"])
    with pytest.raises(DatasetError, match=r"no scans found\. Names of scans end in _T1w"):
        of([tmp_path])


@pytest.mark.parametrize("name", ["nope.nii.gz", "sub-1_T1w.nii.gz"])
def test_a_scan_that_is_not_there_is_said_to_be_so_and_stops_nobody(tmp_path: Path, name: str) -> None:
    """Once `nope.nii.gz` was said to be badly named."""
    (there,) = touched(tmp_path, "sub-2_T1w.nii.gz")
    found = of([tmp_path / name, there], T1)
    assert [row.reason for row in found.refused] == [f"{tmp_path / name}: no such file. Check its name and folder."]
    assert [asked.visit.name for asked in found.asked] == ["sub-2"]


def test_a_scan_given_as_another_modality_than_its_name_says_is_refused(tmp_path: Path) -> None:
    (flair,) = touched(tmp_path, "sub-1_FLAIR.nii.gz")
    with pytest.raises(DatasetError, match=r"FLAIR\.nii\.gz: given as T1w, and its name says FLAIR\."):
        gather([], {"T1w": flair}, [], DataConfig(modalities=("T1w",)))


def test_what_is_odd_about_a_dataset_is_noted_of_whom_it_is_asked(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path, {"a": {"control": 2}})
    (mask,) = (data / "derivatives" / "masks" / "sub-acontrol00").rglob("*brain_mask.nii.gz")
    mask.rename(mask.with_name("sub-acontrol00_space-other_desc-brain_mask.nii.gz"))
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4)), next(mask.parent.iterdir()))
    (note,) = of([data]).notes
    assert (note.what, "lies on no scan's grid" in note.why) == ("sub-acontrol00", True)
    scan = next((data / "sub-acontrol00").rglob("*_T1w.nii.gz"))
    assert of([scan]).notes == of([scan.parent]).notes == [note]
    assert of([data / "sub-acontrol01"]).notes == []


def test_a_scan_that_the_model_does_not_look_at_is_answered_by_its_neighbour_which_is_said(dataset: Path) -> None:
    flair = next((dataset / "sub-acontrol00").rglob("*_FLAIR.nii.gz"))
    found = gather([flair], {}, [], DataConfig(modalities=("T1w",)))
    (note,) = found.notes
    assert note.what == "sub-acontrol00"
    assert "does not look at FLAIR, which was given, but at the person's T1w beside it" in note.why
    assert note.why.endswith("_T1w.nii.gz")
    assert gather([flair], {}, [], DataConfig(modalities=("FLAIR", "T1w"))).notes == []
