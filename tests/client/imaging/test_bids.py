"""What is read of a dataset in BIDS, and what is said of one that is not."""

import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from normfed_client.imaging.bids import Problem, people_without, read_dataset
from normfed_common.foundation.errors import DatasetError


def image(path: Path, shape: tuple[int, int, int] = (10, 10, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.random.default_rng(0).random(shape, np.float32), np.eye(4)).to_filename(path)


def dataset(root: Path, rows: list[str], header: str = "participant_id\tsite\tage\tsex\tgroup") -> Path:
    root.mkdir(exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (root / "participants.tsv").write_text("\n".join([header, *rows]) + "\n")
    return root


ROW = "sub-01\ta\t30\tF\tcontrol"


@pytest.mark.parametrize(
    ("rows", "header", "sentence"),
    [
        ([ROW], "participant_id\tplace\tage\tsex\tgroup", "no column 'site'"),
        ([ROW], "participant_id,site", "Is it tab-separated"),
        ([], "participant_id\tsite", "lists nobody"),
        ([ROW, ROW], None, "line 3: sub-01 is listed twice"),
        (["01\ta\t30\tF\tcontrol"], None, "does not begin with sub-"),
        (["sub-01\tn/a\t30\tF\tcontrol"], None, "sub-01 has no site"),
        (["sub-01\ta\told\tF\tcontrol"], None, "age 'old' of sub-01 is not a number"),
        (["sub-01\ta\t300\tF\tcontrol"], None, "outside 0 to 120"),
        (
            ["sub-01\ta\tM\x1b[2J"],
            "participant_id\tsite\tscanner",
            "the scanner has 5 characters, or some",
        ),
        ([f"sub-01\ta\t{81 * 'M'}"], "participant_id\tsite\tscanner", "at most 80 printable characters"),
        ([f"sub-01\ta\t{200_000 * 'x'}"], None, "cannot be read as UTF-8 text .field larger than"),
        ([ROW], "\t".join(map(str, range(10_000))), "found 0, 1, 10, 100, .* and 9,980 more. Is it tab-separated"),
        ([ROW], f"participant_id\t{200_000 * 'x'}", "found participant_id, x{60}..... Is it|field larger"),
    ],
)
def test_a_wrong_participants_table_is_one_sentence(
    tmp_path: Path, rows: list[str], header: str | None, sentence: str
) -> None:
    root = dataset(tmp_path / "d", rows, header or "participant_id\tsite\tage\tsex\tgroup")
    with pytest.raises(DatasetError, match=sentence):
        read_dataset(root)


@pytest.mark.parametrize(("unit", "age"), [("months", 30.0), ("Years", 360.0), ("weeks", 360 * 7 / 365.25)])
def test_ages_are_in_the_unit_that_the_tables_json_tells(tmp_path: Path, unit: str, age: float) -> None:
    root = dataset(tmp_path / "d", ["sub-01\ta\t360\tF\tcontrol"])
    (root / "participants.json").write_text(f'{{"age": {{"Units": "{unit}"}}}}')
    image(root / "sub-01/anat/sub-01_T1w.nii.gz")
    if age > 120:
        with pytest.raises(DatasetError, match="age 360 of sub-01 is outside 0 to 120 years"):
            read_dataset(root)
    else:
        assert read_dataset(root).visits[0].participant.age == pytest.approx(age)


def test_the_scanner_is_read_where_a_column_says_it(tmp_path: Path) -> None:
    rows = ["sub-01\ta\t Siemens 3T ", "sub-02\ta\tn/a", f"sub-03\tb\t{80 * 'x'}"]
    root = dataset(tmp_path / "d", rows, "participant_id\tsite\tscanner")
    for number in (1, 2, 3):
        image(root / f"sub-0{number}/anat/sub-0{number}_T1w.nii.gz")
    assert [visit.participant.scanner for visit in read_dataset(root).visits] == ["Siemens 3T", None, 80 * "x"]


def test_what_is_not_a_dataset_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"participants.tsv: missing"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no scans found"):
        read_dataset(dataset(tmp_path / "empty", [ROW]))
    root = dataset(tmp_path / "latin", [ROW])
    (root / "participants.tsv").write_bytes(b"participant_id\tsite\nsub-01\tK\xf6ln\n")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_dataset(root)


def test_scans_masks_visits_and_contrast_are_found(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW, "sub-02\tb\tn/a\tn/a\tms"])
    image(root / "sub-01/anat/sub-01_T1w.nii.gz")
    image(root / "sub-01/anat/sub-01_ce-GD_T1w.nii.gz")
    image(root / "derivatives/any/sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz")
    for visit in ("01", "02"):
        image(root / f"sub-02/ses-{visit}/anat/sub-02_ses-{visit}_FLAIR.nii.gz", (12, 12, 12))
    image(root / "derivatives/lesions/sub-02/ses-02/anat/sub-02_ses-02_space-FLAIR_label-MS_mask.nii.gz", (12, 12, 12))
    found = read_dataset(root)
    assert found.problems == ()
    first, early, late = found.visits
    assert set(first.images) == {"T1w", "ce-GD_T1w"}
    assert first.brain is not None
    assert first.brain.modality == "T1w"
    assert (first.participant.age, first.participant.sex) == (30.0, "F")
    assert (early.name, late.name) == ("sub-02_ses-01", "sub-02_ses-02")
    assert early.lesions == ()
    assert [(m.label, m.modality) for m in late.lesions] == [("MS", "FLAIR")]
    assert late.participant.age is None


def test_what_is_left_out_is_named_with_its_reason(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW, "sub-02\ta\t30\tF\tcontrol", "sub-03\ta\t30\tF\tcontrol"])
    image(root / "sub-01/anat/sub-01_run-1_T1w.nii.gz")
    image(root / "sub-01/anat/sub-01_run-2_T1w.nii.gz")
    image(root / "sub-09/anat/sub-09_T1w.nii.gz")
    image(root / "derivatives/m/sub-01/anat/sub-01_space-study_label-MS_mask.nii.gz", (9, 9, 9))
    image(root / "derivatives/m/sub-03/anat/sub-03_space-T1w_desc-brain_mask.nii.gz")
    reasons = {(p.what, p.why.split(";")[0].split("(")[0].strip()) for p in read_dataset(root).problems}
    assert ("sub-01", "2 images of T1w") in reasons
    assert ("sub-09", "not listed in participants.tsv") in reasons
    assert ("sub-02", "in participants.tsv, but has no files") in reasons
    assert ("sub-03", "no T1w, T2w, FLAIR or pet image") in reasons
    assert any(what == "sub-01" and "lies on no scan's grid" in why for what, why in reasons)


def test_a_mask_of_an_unknown_space_is_matched_by_its_grid(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW])
    image(root / "sub-01/anat/sub-01_T1w.nii.gz", (10, 10, 10))
    image(root / "sub-01/anat/sub-01_FLAIR.nii.gz", (11, 10, 10))
    image(root / "derivatives/m/sub-01/anat/sub-01_space-study_label-MS_mask.nii.gz", (11, 10, 10))
    (visit,) = read_dataset(root).visits
    assert [mask.modality for mask in visit.lesions] == ["FLAIR"]


def test_names_say_what_is_registered_already(tmp_path: Path, hospitals: Path) -> None:
    assert all(visit.in_template_space for visit in read_dataset(hospitals).visits)
    root = dataset(tmp_path / "d", [ROW])
    image(root / "sub-01/anat/sub-01_T1w.nii.gz")
    assert not read_dataset(root).visits[0].in_template_space


def test_people_without_a_modality_are_counted_once_however_many_visits_lack_it(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW.replace("01", f"0{number}") for number in (1, 2, 3)])
    visits = {"01_ses-1": ["T1w", "FLAIR"], "01_ses-2": ["T1w"], "01_ses-3": ["T1w"], "02_ses-1": ["T1w"]}
    for name, modalities in {**visits, "03_ses-1": ["T1w", "FLAIR"]}.items():
        for modality in modalities:
            image(root / f"sub-{name.replace('_', '/')}" / "anat" / f"sub-{name}_{modality}.nii.gz")
    found = read_dataset(root).visits
    assert people_without(found, ["T2w", "T1w", "FLAIR"]) == {"FLAIR": 2, "T2w": 3}
    assert people_without([], ["T1w"]) == {}


TAKEN = "sub-01/anat/sub-01_T1w.nii.gz"


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("sub-01/anat/sub-01_flair.nii.gz", "whose name does not end in _FLAIR.nii.gz"),
        ("sub-01/anat/sub-01-FLAIR.nii.gz", "whose name does not end in _FLAIR.nii.gz"),
        ("sub-01/anat/sub-01_T2FLAIR.nii.gz", "whose name does not end in _FLAIR.nii.gz"),
        ("sub-01/anat/sub-01_space-T1w_FLAIR_brain.nii", "whose name does not end in _FLAIR.nii.gz"),
        ("sub-01/anat/sub-01_FLAIR.NII.GZ", "whose name does not end in _FLAIR.nii.gz"),
        ("sub-01/anat/FLAIR.nii.gz", "whose name does not begin with sub-01"),
        ("sub-01/anat/sub-02_FLAIR.nii.gz", "whose name does not begin with sub-01"),
        ("sub-01/anat/sub-01_FLAIR.mgz", "which is no NIfTI file"),
        ("derivatives/prep/sub-01/anat/sub-01_FLAIR.nii.gz", "which lies in derivatives"),
    ],
)
def test_a_missing_scan_is_said_with_where_it_was_expected_and_what_is_nearly_it(
    tmp_path: Path, place: str, why: str
) -> None:
    root = dataset(tmp_path / "d", [ROW, ROW.replace("01", "02")])
    for name in (TAKEN, TAKEN.replace("01", "02")):
        image(root / name)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).touch()
    visit, other = read_dataset(root).visits
    assert visit.lacks(["FLAIR"]) == (f"has no FLAIR (expected sub-01/anat/sub-01_FLAIR.nii.gz; found {place}, {why})")
    assert visit.nearly_has() == ["FLAIR"]
    assert visit.lacks(["T2w"]) == "has no T2w (expected sub-01/anat/sub-01_T2w.nii.gz)"
    assert visit.lacks(["FLAIR", "pet"]).endswith(" and no pet (expected sub-01/pet/sub-01_pet.nii.gz)")
    assert other.nearly_has() == []


def test_a_scan_that_is_a_broken_link_is_no_scan_and_is_said(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW])
    image(root / TAKEN)
    (root / "sub-01/anat/sub-01_FLAIR.nii.gz").symlink_to(root / ".git/annex/objects/1")
    found = read_dataset(root)
    (visit,) = found.visits
    assert set(visit.images) == {"T1w"}
    assert [(p.what, p.why) for p in found.problems] == [
        ("sub-01", "sub-01_FLAIR.nii.gz is a broken link: get the file that it points to")
    ]
    expected = "sub-01/anat/sub-01_FLAIR.nii.gz"
    assert visit.lacks(["FLAIR"]) == f"has no FLAIR (expected {expected}; found {expected}, which is a broken link)"


@pytest.mark.parametrize("place", ["sub-01/anat/sub-01_FLAIR.nii.gz", "participants.json", "derivatives"])
def test_a_pipe_which_would_be_read_for_ever_is_refused_and_a_hidden_one_is_nobodys(tmp_path: Path, place: str) -> None:
    root = dataset(tmp_path / "d", [ROW])
    (root / "sub-01" / "anat").mkdir(parents=True)
    (root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").touch()
    os.mkfifo(root / ".editor")
    assert len(read_dataset(root).visits) == 1
    os.mkfifo(root / place)
    with pytest.raises(DatasetError, match=rf"^{root / place}: is neither a file nor a folder"):
        read_dataset(root)


@pytest.mark.parametrize("links", [("sub-01",), ("sub-01", "sub-02"), ("sub-01/anat", "derivatives")])
def test_links_that_lead_back_are_one_sentence_and_others_are_followed(tmp_path: Path, links: tuple[str, ...]) -> None:
    """A dataset with two of them, of which each is in the other as well, has more files than anybody can list."""
    root = dataset(tmp_path / "d", [ROW, ROW.replace("01", "02")])
    for name in ("sub-01", "sub-02"):
        (tmp_path / "kept" / name / "anat").mkdir(parents=True)
        (tmp_path / "kept" / name / "anat" / f"{name}_T1w.nii.gz").touch()
        (root / name).symlink_to(tmp_path / "kept" / name)
    (root / "derivatives").mkdir()
    assert len(read_dataset(root).visits) == 2
    for name in links:
        (root / name / "back").symlink_to(root)
    with pytest.raises(DatasetError, match=f"back: is a link to {root}, which it lies in. Remove the link."):
        read_dataset(root)


def test_a_scan_whose_name_lacks_the_session_of_its_folder_is_nearly_that_sessions(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW])
    folder = root / "sub-01/ses-1/anat"
    image(folder / "sub-01_ses-1_T1w.nii.gz")
    image(folder / "sub-01_FLAIR.nii.gz")
    image(root / "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz")
    visits = {visit.name: visit for visit in read_dataset(root).visits}
    assert visits["sub-01_ses-1"].lacks(["FLAIR"]) == (
        "has no FLAIR (expected sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz; "
        "found sub-01/ses-1/anat/sub-01_FLAIR.nii.gz, whose name does not begin with sub-01_ses-1)"
    )
    assert visits["sub-01_ses-2"].nearly_has() == []


def test_a_file_that_is_nearly_a_scan_of_a_session_and_of_none_is_counted_once(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW])
    image(root / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    (root / "sub-01/ses-1/anat/sub-01_flair.nii.gz").touch()
    (visit,) = read_dataset(root).visits
    assert visit.lacks(["FLAIR"]).endswith("/sub-01_flair.nii.gz, whose name does not begin with sub-01_ses-1)")


@pytest.mark.parametrize(
    "name",
    ["sub-01_space-FLAIR_label-MS_mask.nii.gz", "sub-01_FLAIR_seg.nii.gz", "sub-01_FLAIR.json", ".sub-01_FLAIR.nii.gz"],
)
def test_what_is_no_scan_is_not_nearly_one(tmp_path: Path, name: str) -> None:
    root = dataset(tmp_path / "d", [ROW])
    image(root / TAKEN)
    (root / "sub-01/anat" / name).touch()
    (visit,) = read_dataset(root).visits
    assert visit.near == ()


def test_where_nobody_with_scans_is_listed_that_is_what_is_said(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW])
    image(root / TAKEN.replace("01", "02"))
    with pytest.raises(
        DatasetError, match=r"nobody who has scans is listed in participants\.tsv, such as sub-02\. List"
    ):
        read_dataset(root)


def test_a_dataset_without_a_scan_says_what_is_nearly_one(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [ROW])
    (root / "sub-01/anat").mkdir(parents=True)
    for modality in ("t1", "flair"):
        (root / f"sub-01/anat/sub-01_{modality}.nii.gz").touch()
    with pytest.raises(DatasetError, match=r"no scans .*; found sub-01/anat/sub-01_flair\.nii\.gz, whose name does"):
        read_dataset(root)
    image(root / "sub-02/anat/sub-02_T1w.nii.gz")
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-01\ta\nsub-02\ta\n")
    ((what, why),) = [(p.what, p.why) for p in read_dataset(root).problems]
    assert (what, why.split(";")[0]) == ("sub-01", "in participants.tsv, but has no files")
    assert "found sub-01/anat/sub-01_flair.nii.gz" in why
    assert why.endswith(" and 1 more")


def test_whatever_a_files_name_holds_a_problem_is_one_line_that_can_be_written(tmp_path: Path) -> None:
    """A name with a line break would forge a line, one with an escape sequence erase others, one that is no UTF-8 break
    the report that it is to stand in."""
    data = dataset(tmp_path, ["sub-01\ta\t50\tF\tcontrol"])
    image(data / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    for name in (b"flair_\xff.nii", b"flair_\x1b[2J\n  sub-99: all is well.nii"):
        (data / "sub-01" / "anat" / os.fsdecode(name)).touch()
    (visit,) = read_dataset(data).visits
    assert len(visit.near) == 2
    for match in visit.near:
        found = Problem("sub-01\n", replace(visit, near=(match,)).lacks(["FLAIR"]))
        assert "flair_" in found.why
        for text in (found.what, found.why):
            assert text.isprintable()
            text.encode()


def sessions(root: Path, *rows: str, header: str = "session_id\tscanner") -> Path:
    """Two visits of sub-01 and of sub-02, and the sessions.tsv of the first."""
    dataset(root, ["sub-01\ta\tPhilips", "sub-02\ta\tPhilips"], "participant_id\tsite\tscanner")
    for name in ("sub-01", "sub-02"):
        for session in "12":
            image(root / f"{name}/ses-{session}/anat/{name}_ses-{session}_T1w.nii.gz")
    (root / "sub-01/sub-01_sessions.tsv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_a_visit_is_of_the_scanner_that_sessions_tsv_says_and_else_of_the_person_s(tmp_path: Path) -> None:
    root = sessions(tmp_path / "d", "ses-1\tSiemens 3T", "ses-2\tn/a")
    found = {visit.name: visit.participant.scanner for visit in read_dataset(root).visits}
    assert found == {
        "sub-01_ses-1": "Siemens 3T",
        "sub-01_ses-2": "Philips",
        "sub-02_ses-1": "Philips",
        "sub-02_ses-2": "Philips",
    }


@pytest.mark.parametrize(
    ("rows", "header", "sentence"),
    [
        (["ses-1\tGE"], "session\tscanner", "no column 'session_id'"),
        (["ses-1\tGE", "ses-1\tGE"], "session_id\tscanner", "line 3: ses-1 is listed twice"),
        (["ses-1\t" + 200_000 * "x"], "session_id\tscanner", "cannot be read as UTF-8 text .field larger than"),
        (["ses-1\t" + 81 * "M"], "session_id\tscanner", "line 2: the scanner has 81 characters"),
    ],
)
def test_a_wrong_sessions_table_is_one_sentence(tmp_path: Path, rows: list[str], header: str, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        read_dataset(sessions(tmp_path / "d", *rows, header=header))
