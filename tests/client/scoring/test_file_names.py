"""What names of files say of whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_client.scoring.file_names import NOBODY, file_name, label_of, stem_of, without_folders


@pytest.mark.parametrize(
    ("name", "visit", "modality", "space"),
    [
        ("sub-01_T1w.nii.gz", ("sub-01", None), "T1w", ""),
        ("sub-01_ses-a_acq-3d_run-2_FLAIR.nii", ("sub-01", "a"), "FLAIR", ""),
        ("sub-01_acq-x_ce-GD_run-1_T1w.nii.gz", ("sub-01", None), "ce-GD_T1w", ""),
        ("sub-01_space-MNI152Lin_T2w.nii.gz", ("sub-01", None), "T2w", "MNI152Lin"),
        ("sub-01_space-T1w_model-tensor_param-FA_dwimap.nii.gz", ("sub-01", None), "FA", "T1w"),
        ("sub-01_ses-2_space-T1w_desc-brain_mask.nii.gz", ("sub-01", "2"), None, "T1w"),
        ("patient 7_T1w.nii.gz", ("patient 7", None), "T1w", ""),
        ("p_ce-GAD_T1w.nii.gz", ("p", None), "ce-GAD_T1w", ""),
        ("p_param-md_dwimap.nii.gz", ("p", None), "MD", ""),
        ("p_space-FLAIR_desc-brain_mask.nii.gz", ("p", None), None, "FLAIR"),
        ("p_space-MNI152Lin_T1w.nii.gz", ("p", None), "T1w", "MNI152Lin"),
        ("T2w.nii.gz", ("", None), "T2w", ""),
    ],
)
def test_a_name_says_whose_scan_or_mask_it_is(
    name: str, visit: tuple[str, str | None], modality: str | None, space: str
) -> None:
    found = file_name(Path("x") / name)
    assert found is not None
    assert (found.visit, found.modality, found.space) == (visit, modality, space)


@pytest.mark.parametrize(
    "name",
    [
        *("sub-01_dwi.nii.gz", "sub-01_T1w.json", "brain.nii.gz", "sub-01_label-WMH_mask.nii.gz", "T1w.mgz"),
        *("sub-01_space-T1w_desc-anomaly_map.nii.gz", "sub-01_param-kurtosis_dwimap.nii.gz"),
    ],
)
def test_of_other_files_nothing_is_said(name: str) -> None:
    assert file_name(Path(name)) is None


@pytest.mark.parametrize(
    ("person", "label"),
    [("sub-01", "sub-01"), ("patient 7", "sub-patient7"), ("[red]\x1b[2J", "sub-red2J"), ("", f"sub-{NOBODY}")],
)
def test_a_label_is_of_letters_and_digits_whatever_a_person_is_called(person: str, label: str) -> None:
    assert label_of(person) == label


def test_the_stem_is_the_person_where_the_name_tells_one() -> None:
    assert [stem_of(Path(name)) for name in ("a_T1w.nii", "scan 3.nii.gz")] == ["a", "scan 3"]


def test_a_sentence_keeps_the_names_of_files_without_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Ward 7" / "Jane Doe"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for told, left in (
        (f"{folder}/a_T1w.nii.gz: 3/4 is 0.", "a_T1w.nii.gz: 3/4 is 0."),
        (f"{folder}/a.nii: a second T1w, beside {folder}/b c.nii.", "a.nii: a second T1w, beside b c.nii."),
        (f"cannot be scored ([Errno 2] gone: '{folder}/x.npz').", "cannot be scored ([Errno 2] gone: 'x.npz')."),
        ("Ward 7/Jane Doe/a.nii: is there.", "a.nii: is there."),
        (f"{folder}/removed/a.nii: gone.", "a.nii: gone."),
        ("/not/there/any/more.nii: gone, and/or moved.", "more.nii: gone, and/or moved."),
        ("sub-1: the model needs T1w, FLAIR.", "sub-1: the model needs T1w, FLAIR."),
    ):
        assert without_folders(told) == left
