"""Public cohorts as they come: trees with their real names become BIDS with sites, scanners, ages, sexes and groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import downloads
import nibabel
import numpy as np
import pytest
from commands import normfed

from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.recognition import as_bids, recognised
from normfed_simulation.splits import dividing

TIME = "2011-01-20_11_22_33.0"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a dataset is laid out; the cache is elsewhere."""
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "source"


def tree(root: Path, *files: str, **tables: str) -> Path:
    """Files, empty: nothing opens a scan; and tables, whose names have `__` for a dot and `___` for a hyphen."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, text in tables.items():
        (root / name.replace("___", "-").replace("__", ".")).write_text(text)
    return root


def read(root: Path) -> dict[str, Visit]:
    """What normfed reads of a dataset as it came, by person; every link leads into the source."""
    dataset = read_dataset(as_bids(root))
    for visit in dataset.visits:
        for path in visit.images.values():
            assert path.resolve().is_relative_to(root.resolve())
    return {visit.participant.subject: visit for visit in dataset.visits}


def known(root: Path) -> Downloaded:
    found = recognised(root)
    assert found is not None
    return found[1]


def problems(root: Path) -> list[str]:
    return [f"{problem.what}: {problem.why}" for problem in known(root).contents.problems]


ABIDE1 = """SITE_ID,SUB_ID,DX_GROUP,DSM_IV_TR,AGE_AT_SCAN,SEX
NYU,50952,1,1,11.01,1
NYU,50953,2,0,-9999,2
LEUVEN_1,50682,2,0,23,1
"""
ABIDE2 = """SITE_ID,SUB_ID,NDAR_GUID,DX_GROUP,PDD_DSM_IV_TR,AGE_AT_SCAN ,SEX
ABIDEII-BNI_1,29006,x,1,,48,1
ABIDEII-BNI_1,29007,x,2,,40.5,1
"""
RAW = "session_1/anat_1"


def test_abide_has_the_institution_of_its_tables(root: Path) -> None:
    tree(
        root,
        f"ABIDE/NYU/0050952/{RAW}/mprage.nii.gz",
        "ABIDE/NYU/0050952/session_1/rest_1/rest.nii.gz",
        f"ABIDE/NYU/0050953/{RAW}/mprage.nii.gz",
        "sub-0050682/anat/sub-0050682_T1w.nii.gz",
        f"ABIDEII-BNI_1/29006/{RAW}/anat.nii.gz",
        "ABIDEII-BNI_1/29006/session_1/anat_2/anat.nii.gz",
        f"ABIDEII-BNI_1/29099/{RAW}/anat.nii.gz",
        Phenotypic_V1_0b__csv=ABIDE1,
    )
    (root / "ABIDEII_Composite_Phenotypic.csv").write_bytes(ABIDE2.replace("x,1", "na\xefve,1").encode("latin-1"))
    people = read(root)
    assert {visit.participant for visit in people.values()} == {
        Participant("sub-50952", "NYU", "autism", 11.01, "M"),
        Participant("sub-50953", "NYU", "control", None, "F"),
        Participant("sub-50682", "LEUVEN_1", "control", 23, "M"),
        Participant("sub-29006", "ABIDEII-BNI_1", "autism", 48, "M"),
    }
    assert people["sub-29006"].images["T1w"].resolve().parent.name == "anat_1"
    assert problems(root) == [
        "sub-29099: has scans, but is not in the phenotypic table: left out",
        "sub-29007: is in the phenotypic table, but has no scans",
    ]


SERIES = "MPR__GradWarp__B1_Correction__N3__Scaled"
MERGED = """RID,PTID,VISCODE,SITE,DX_bl,AGE,PTGENDER,FLDSTRENG
295,002_S_0295,m12,2,CN,84.8,Male,3 Tesla MRI
295,002_S_0295,bl,2,CN,84.8,Male,1.5 Tesla MRI
3,011_S_0003,bl,11,AD,81.3,Female,
9,011_S_0009,bl,11,LMCI,70,Female,
"""


def adni(root: Path) -> Path:
    return tree(
        root,
        f"ADNI/002_S_0295/{SERIES}/2006-11-02_08_16_44.0/I40966/ADNI_002_S_0295_MR_{SERIES}_Br_1_S2_I40966.nii",
        f"ADNI/002_S_0295/{SERIES}_2/2006-11-02_08_16_44.0/I40967/ADNI_002_S_0295_MR_{SERIES}_2_Br_1_S2_I40967.nii",
        "ADNI/002_S_0295/MP-RAGE/2006-11-02_08_16_44.0/I10/ADNI_002_S_0295_MR_MP-RAGE__br_raw_1_S2_I10.nii",
        f"ADNI/002_S_0295/{SERIES}/2008-11-02_08_16_44.0/I50966/ADNI_002_S_0295_MR_{SERIES}_Br_1_S2_I50966.nii",
        "ADNI/002_S_0295/Axial_T2_FLAIR/2006-11-02_09_00_00.0/I11/ADNI_002_S_0295_MR_Axial_T2_FLAIR_br_I11.nii",
        "ADNI/002_S_0295/Axial_PD_T2_FSE/2006-11-02_09_00_00.0/I12/ADNI_002_S_0295_MR_Axial_PD_T2_FSE_br_I12.nii",
        "ADNI/011_S_0003/Accelerated_SAG_IR-SPGR/2005-09-01_09_00_00.0/I13/ADNI_011_S_0003_MR_SPGR_br_raw_I13.nii",
        "ADNI/011_S_0009/HarP_135_final_release_2015_Mask/2005-09-01_09_00_00.0/I14/ADNI_011_S_0009_Mask_I14.nii",
    )


@pytest.mark.parametrize("diagnosis", ["DX_bl", "DX.bl"])  # as the archive and as the R package write it
def test_adni_has_the_site_that_begins_a_name_and_the_best_scan_of_the_first_day(root: Path, diagnosis: str) -> None:
    tree(adni(root), ADNIMERGE_14Oct2024__csv=MERGED.replace("DX_bl", diagnosis))
    people = read(root)
    assert [visit.participant for visit in people.values()] == [
        Participant("sub-002S0295", "002", "control", 84.8, "M", "1.5T"),
        Participant("sub-011S0003", "011", "AD", 81.3, "F"),
    ]
    images = people["sub-002S0295"].images
    assert {modality: path.resolve().parent.name for modality, path in images.items()} == {
        "T1w": "I40966",
        "FLAIR": "I11",
    }
    assert problems(root) == ["sub-011S0009: has no T1w: left out"]


COLLECTION = """"Image Data ID","Subject","Group","Sex","Age","Visit","Modality"
"I13","011_S_0003","AD","F","81","sc","MRI"
"I40966","002_S_0295","CN","M","85","m06","MRI"
"""


def test_adni_does_with_the_table_that_comes_with_the_images(root: Path) -> None:
    tree(adni(root), ADNI_11_27_2026__csv=COLLECTION)
    assert [visit.participant for visit in read(root).values()] == [
        Participant("sub-002S0295", "002", "control", 85, "M"),
        Participant("sub-011S0003", "011", "AD", 81, "F"),
    ]


def ppmi(root: Path, *people: str) -> Path:
    return tree(
        root,
        *(f"PPMI/{who}/MPRAGE_GRAPPA/{TIME}/I{who}/PPMI_{who}_MR_MPRAGE_GRAPPA_br_raw_I{who}.nii" for who in people),
    )


def test_ppmi_has_the_centre_of_its_list_and_the_group_of_the_images_table(root: Path) -> None:
    tree(
        ppmi(root, "3102", "3104", "3999"),
        Center___Subject_List__csv="PATNO,CNO\n3102,32\n3104,290\n",
        PPMI_11_27_2026__csv="Image Data ID,Subject,Group,Sex,Age\nI1,3102,PD,M,64\nI2,3104,Control,F,60\n",
    )
    assert [visit.participant for visit in read(root).values()] == [
        Participant("sub-3102", "site-32", "PD", 64, "M"),
        Participant("sub-3104", "site-290", "control", 60, "F"),
    ]
    assert problems(root) == ["sub-3999: has no institution in any table: left out"]


def test_ppmi_does_with_the_curated_data_cut_alone(root: Path) -> None:
    cut = "PATNO,SITE,EVENT_ID,COHORT,age,SEX\n3102,32,BL,1,64.2,1\n3102,32,V04,1,65.2,1\n3104,290,BL,2,60,0\n"
    tree(ppmi(root, "3102", "3104"), PPMI_Curated_Data_Cut_Public_20251112__csv=cut)
    assert [visit.participant for visit in read(root).values()] == [
        Participant("sub-3102", "site-32", "PD", 64.2, "M"),
        Participant("sub-3104", "site-290", "control", 60, "F"),
    ]


def test_ppmi_reads_the_cut_as_excel_of_the_first_visit_and_maps_that_lie_beside(root: Path) -> None:
    dti = (
        "derivatives/qsirecon/derivatives/qsirecon-DIPYDKI/sub-{0}/ses-BL/dwi/sub-{0}_ses-BL_{1}_model-tensor_param-{2}"
    )
    tree(
        ppmi(root, "3102", "3104"),
        *(dti.format("3102", "space-ACPC", name) + "_dwimap.nii.gz" for name in ("fa", "md", "ad")),
        dti.format("PPMI3104", "space-ACPC", "FA") + "_dwimap.nii.gz",
        dti.format("3104", "space-MNI152NLin2009cAsym", "MD") + "_dwimap.nii.gz",
    )
    head: list[str | float | None] = ["PATNO", "SITE", "EVENT_ID", "COHORT", "age", "SEX"]
    rows = [head, [3102, 32, "V04", 1, 65.2, 1], [3102, 32, "BL", 1, 64.2, 1], [3104, 290, "BL", 2, None, 0]]
    downloads.workbook(root / "PPMI_Curated_Data_Cut_Public_20251112.xlsx", rows)
    people = read(root)
    assert [visit.participant for visit in people.values()] == [
        Participant("sub-3102", "site-32", "PD", 64.2, "M"),
        Participant("sub-3104", "site-290", "control", None, "F"),
    ]
    assert {name: set(visit.images) for name, visit in people.items()} == {
        "sub-3102": {"T1w", "FA", "MD"},
        "sub-3104": {"T1w", "FA"},
    }
    assert people["sub-3102"].images["MD"].resolve().name.endswith("param-md_dwimap.nii.gz")


OASIS1 = """ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay
OAS1_0001_MR1,F,R,74,2,3,29,0,1344,0.743,1.306,N/A
OAS1_0003_MR1,F,R,73,4,3,27,0.5,1454,0.708,1.207,N/A
OAS1_0004_MR1,M,R,28,,,,,1588,0.803,1.105,N/A
OAS1_0061_MR2,F,R,20,,,,,1313,0.803,1.337,38
"""


def test_oasis_1_is_read_from_its_analyze_pairs(root: Path) -> None:
    data = np.random.default_rng(0).integers(0, 900, (9, 11, 10, 1)).astype(np.int16)
    for number in (1, 3, 4):
        name = f"OAS1_{number:04d}_MR1"
        folder = root / f"disc{number}" / name / "PROCESSED" / "MPRAGE" / "T88_111"
        folder.mkdir(parents=True)
        path = folder / f"{name}_mpr_n4_anon_111_t88_masked_gfc.hdr"
        nibabel.Spm2AnalyzeImage(data, np.diag([-1, 1, 1, 1])).to_filename(path)
        tree(folder, f"{name}_mpr_n4_anon_111_t88_gfc.hdr")
    tree(root, oasis_cross___sectional__csv=OASIS1)
    before = sorted(root.rglob("*"))
    dataset = read_dataset(as_bids(root))
    assert [visit.participant for visit in dataset.visits] == [
        Participant("sub-OAS10001", "WashU", "control", 74, "F", "Siemens Vision 1.5T"),
        Participant("sub-OAS10003", "WashU", "dementia", 73, "F", "Siemens Vision 1.5T"),
        Participant("sub-OAS10004", "WashU", "control", 28, "M", "Siemens Vision 1.5T"),
    ]
    image = nibabel.load(dataset.visits[0].images["T1w"])
    np.testing.assert_array_equal(image.get_fdata(), data[..., 0])
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")
    assert sorted(root.rglob("*")) == before
    assert as_bids(root) == dataset.root


def test_oasis_1_reads_the_sheet_that_the_site_gives(root: Path) -> None:
    stem = "disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc"
    rows: list[list[str | float | None]] = [["ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR"]]
    rows += [["OAS1_0001_MR1", "F", "R", 74, 2, 3, 29, 0]]
    tree(root, f"{stem}.nii.gz")
    downloads.workbook(root / "oasis_cross-sectional-5708aa0a98d82080.xlsx", rows)
    (person,) = known(root).found.people.values()
    assert person == Participant("sub-OAS10001", "WashU", "control", 74, "F", "Siemens Vision 1.5T")


@pytest.mark.parametrize("text", [b"<html>Not found</html>", b"PK\x05\x06" + bytes(18)])
def test_a_new_excel_sheet_that_is_none_is_one_sentence(root: Path, text: bytes) -> None:
    tree(root, "disc1/OAS1_0001_MR1/x.txt")
    (root / "oasis_cross-sectional.xlsx").write_bytes(text)
    with pytest.raises(DatasetError, match=r"oasis_cross-sectional.xlsx: not readable as an Excel sheet") as caught:
        known(root).found  # noqa: B018
    assert "\n" not in str(caught.value)


def test_an_analyze_pair_that_cannot_be_read_is_one_sentence_and_leaves_no_view(root: Path) -> None:
    stem = "disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc"
    tree(root, f"{stem}.hdr", f"{stem}.img", oasis_cross___sectional__csv=OASIS1)
    with pytest.raises(DatasetError, match=r"masked_gfc.hdr: not readable as an Analyze pair .* Get both files again"):
        as_bids(root)
    assert not list((root.parent / "cache").rglob("*_T1w*"))


DEMOGRAPHICS = "OASISID,AgeatEntry,AgeatDeath,GENDER\nOAS30001,65.2,,2\nOAS30002,67.3,,1\nOAS30003,60,,1\n"
RATINGS = """OASISID,OASIS_session_label,days_to_visit,CDRTOT
OAS30001,a,0,0
OAS30001,b,900,0.5
OAS30002,c,10,1
OAS30003,d,0,
"""
TRIO = '{"ManufacturersModelName": "TrioTim", "MagneticFieldStrength": 3}'


def test_oasis_3_has_the_first_session_the_scanner_of_its_json_and_the_nearest_rating(root: Path) -> None:
    tree(
        root,
        "OAS30001_MR_d0129/anat2/sub-OAS30001_ses-d0129_run-01_T1w.nii.gz",
        "OAS30001_MR_d0129/anat3/sub-OAS30001_ses-d0129_run-02_T1w.nii.gz",
        "OAS30001_MR_d0129/anat1/sub-OAS30001_ses-d0129_acq-TSE_T2w.nii.gz",
        "OAS30001_MR_d0129/anat4/sub-OAS30001_ses-d0129_FLAIR.nii.gz",
        "OAS30001_MR_d0757/anat2/sub-OAS30001_ses-d0757_T1w.nii.gz",
        "OAS30002_MR_d0371/anat2/NIFTI/sub-OAS30002_sess-d0371_T1w.nii.gz",
        "OAS30003_MR_d1000/anat2/sub-OAS30003_ses-d1000_T1w.nii.gz",
        OASIS3_demographics__csv=DEMOGRAPHICS,
        OASIS3_UDSb4_cdr__csv=RATINGS,
    )
    (root / "OAS30001_MR_d0129/anat2/sub-OAS30001_ses-d0129_run-01_T1w.json").write_text(TRIO)
    beside = root / "OAS30002_MR_d0371/anat2/BIDS/sub-OAS30002_sess-d0371_T1w.json"
    beside.parent.mkdir()
    beside.write_text(TRIO.replace("TrioTim", "Sonata").replace("3}", "1.494}"))
    people = read(root)
    assert [visit.participant for visit in people.values()] == [
        Participant("sub-OAS30001", "WashU", "control", 65.6, "F", "TrioTim 3T"),
        Participant("sub-OAS30002", "WashU", "dementia", 68.3, "M", "Sonata 1.5T"),
        Participant("sub-OAS30003", "WashU", "", 62.7, "M"),
    ]
    assert {m: path.resolve().parent.name for m, path in people["sub-OAS30001"].images.items()} == {
        "T1w": "anat2",
        "FLAIR": "anat4",
    }
    assert problems(root) == [
        "sub-OAS30003: is not in OASIS3_UDSb4_cdr.csv, so has no group",
        "sub-OAS30003: has no JSON that tells the scanner",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("participants.tsv", "participant_id\tage\thand\tgender_code\tgender_text\nsub-CC110033\t24\t1\t1\tMALE\n"),
        ("standard_data.csv", "CCID,Age,Hand,Gender_code\nCC110033,24,1,1\n"),
    ],
)
def test_cam_can_is_one_scanner_and_healthy(root: Path, name: str, text: str) -> None:
    anat = root / "cc700" / "mri" / "pipeline" / "release004" / "BIDS_20190411" / "anat"
    tree(anat, *(f"sub-CC{n}/anat/sub-CC{n}_{m}.nii.gz" for n in (110033, 110037) for m in ("T1w", "T2w")))
    (anat / name).write_text(text)
    for folder in (root, anat):
        people = read(folder)
        assert [visit.participant for visit in people.values()] == [
            Participant("sub-CC110033", "Cambridge", "control", 24, "M", "Siemens TrioTim 3T"),
            Participant("sub-CC110037", "Cambridge", "control", None, None, "Siemens TrioTim 3T"),
        ]
        assert sorted(people["sub-CC110033"].images) == ["T1w", "T2w"]
        assert problems(folder) == ["sub-CC110037: is not in the table of people, so has no age and no sex"]


def test_what_is_no_federation_by_itself_is_said(root: Path) -> None:
    tree(root / "camcan", "sub-CC110033/anat/sub-CC110033_T1w.nii.gz", "sub-CC110037/anat/sub-CC110037_T1w.nii.gz")
    assert "! All 2 people are of one site, Cambridge, which is no federation" in said(root / "camcan")
    three = [*stroke("Training", 1, 1, "T1w"), *stroke("Training", 2, 1, "T1w"), *stroke("Training", 2, 2, "T1w")]
    tree(root / "atlas", *three)
    assert "! 1 of 2 sites has one person, such as R001: no site trains or tells a figure of one." in said(
        root / "atlas"
    )


def said(root: Path) -> str:
    return " ".join(normfed("datasets", "--data", root).stdout.split())


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ({"by": "iid", "sites": 3}, "3 sites of at least one person each cannot be made of 2 people"),
        ({"by": "scanner"}, "everybody was scanned on Siemens TrioTim 3T"),
    ],
)
def test_one_hospitals_people_are_divided_or_not(root: Path, split: dict[str, Any], sentence: str) -> None:
    tree(root, "sub-CC110033/anat/sub-CC110033_T1w.nii.gz", "sub-CC110037/anat/sub-CC110037_T1w.nii.gz")
    halves = dividing.view(as_bids(root), study_of({"by": "iid", "sites": 2}), root.parent / "cache")
    assert [len(visits) for visits in read_dataset(halves).sites().values()] == [1, 1]
    with pytest.raises(StudyError, match=sentence):
        dividing.view(as_bids(root), study_of(split), root.parent / "cache")


def study_of(split: dict[str, Any]) -> StudyConfig:
    raw = {"name": "divided", "data": {"modalities": ["T1w"], "split": split}, "model": {"name": "intensity"}}
    return resolve(raw, "test")


LJUBLJANA = ("FLAIR", "T1W", "T1WKS", "T2W", "brainmask", "consensus_gt")


@pytest.mark.parametrize("coregistered", [True, False])
def test_mslub_has_its_masks_on_the_grid_of_the_flair(root: Path, coregistered: bool) -> None:
    if coregistered:
        tree(root, *(f"cross_sectional/coregistered/patient07/{kind}.nii.gz" for kind in LJUBLJANA))
        tree(root, "cross_sectional/raw/patient07/FLAIR.nii.gz", "longitudinal/coregistered/patient07/FLAIR.nii.gz")
        tree(root, "cross_sectional/coregistered/patient08/patient08_brainmask.nii.gz")
    else:
        tree(root, *(f"patient7/patient7_{kind}.nii.gz" for kind in LJUBLJANA), "patient7/raw/patient7_FLAIR.nii.gz")
        tree(root, "patient8/patient8_brainmask.nii.gz")
    (visit,) = read(root).values()
    assert visit.participant == Participant("sub-patient07", "Ljubljana", "MS", scanner="Siemens Magnetom Trio 3T")
    assert sorted(visit.images) == ["FLAIR", "T1w", "T2w", "ce-gadolinium_T1w"]
    assert [(mask.modality, mask.label) for mask in visit.lesions] == [("FLAIR", "MS")]
    assert visit.brain is not None
    assert visit.brain.modality == "FLAIR"
    assert problems(root)[0] == "sub-patient08: has no FLAIR: left out"


def stroke(part: str, cohort: int, person: int, *kinds: str) -> list[str]:
    name = f"sub-r{cohort:03d}s{person:03d}"
    folder = f"ATLAS_2/{part}/R{cohort:03d}/{name}/ses-1/anat"
    return [f"{folder}/{name}_ses-1_space-MNI152NLin2009aSym_{kind}.nii.gz" for kind in kinds]


def test_atlas_has_the_cohort_of_a_name_and_lies_in_template_space(root: Path) -> None:
    both = ("T1w", "label-L_desc-T1lesion_mask")
    tree(root, *stroke("Training", 1, 1, *both), *stroke("Training", 2, 5, *both), *stroke("Testing", 2, 9, "T1w"))
    people = read(root)
    assert [visit.participant for visit in people.values()] == [
        Participant("sub-r001s001", "R001", "stroke"),
        Participant("sub-r002s005", "R002", "stroke"),
        Participant("sub-r002s009", "R002", "stroke"),
    ]
    assert all(visit.in_template_space for visit in people.values())
    assert [[mask.label for mask in visit.lesions] for visit in people.values()] == [["stroke"], ["stroke"], []]
    assert problems(root) == ["sub-r002s009: has no lesion mask"]


WRONG: dict[str, tuple[list[str], dict[str, str], str]] = {
    "abide without table": ([f"NYU/0050952/{RAW}/mprage.nii.gz"], {}, r"Phenotypic_V1_0b.csv: missing. It should have"),
    "abide without column": (
        [f"NYU/0050952/{RAW}/mprage.nii.gz"],
        {"Phenotypic_V1_0b__csv": ABIDE1.replace("SITE_ID", "CENTRE")},
        r"Phenotypic_V1_0b.csv: has no column 'SITE_ID'; found CENTRE",
    ),
    "abide twice": (
        [f"NYU/0050952/{RAW}/mprage.nii.gz"],
        {"Phenotypic_V1_0b__csv": ABIDE1 + "NYU,50952,1,1,11,1\n"},
        "SUB_ID 50952 is there twice",
    ),
    "abide of one site": (
        [f"NYU/005095{n}/{RAW}/mprage.nii.gz" for n in (2, 3)],
        {"Phenotypic_V1_0b__csv": ABIDE1},
        "all 2 people are of one site, NYU, and one site is no federation",
    ),
    "abide without scans": (
        ["NYU/0050952/session_1/anat_1/x.txt"],
        {"Phenotypic_V1_0b__csv": ABIDE1},
        "not ABIDE I and",
    ),
    "adni without table": (
        [f"ADNI/002_S_0295/MPRAGE/{TIME}/I1/a.nii"],
        {},
        r"ADNIMERGE.csv: missing. It should have the columns PTID, DX_bl",
    ),
    "adni as DICOM": ([f"ADNI/002_S_0295/MPRAGE/{TIME}/I1/a.dcm"], {}, "the scans are DICOM files. Download them"),
    "ppmi without centres": (
        [f"PPMI/3102/MPRAGE/{TIME}/I1/a.nii"],
        {},
        r"Center-Subject_List.csv: missing. It should have the columns PATNO, CNO",
    ),
    "ppmi without groups": (
        [f"PPMI/3102/MPRAGE/{TIME}/I1/a.nii"],
        {"Center___Subject_List__csv": "PATNO,CNO\n3102,32\n"},
        r"PPMI_Curated_Data_Cut_Public.csv: missing",
    ),
    "oasis 1 without table": (["disc1/OAS1_0001_MR1/x.txt"], {}, r"oasis_cross-sectional.csv: missing"),
    "oasis 3 without ratings": (
        ["OAS30001_MR_d0129/anat2/sub-OAS30001_ses-d0129_T1w.nii.gz"],
        {"OASIS3_demographics__csv": DEMOGRAPHICS},
        r"OASIS3_UDSb4_cdr.csv: missing. It should have the columns OASISID, days_to_visit, CDRTOT",
    ),
    "mslub twice": (
        ["a/patient1/FLAIR.nii.gz", "b/patient01/FLAIR.nii.gz", "a/patient1/consensus_gt.nii.gz"],
        {},
        "patient01 has two FLAIR, a/patient1/FLAIR.nii.gz and b/patient01/FLAIR.nii.gz. Keep one",
    ),
    "atlas twice": (
        [*stroke("Training", 1, 1, "T1w"), *(f"copy/{name}" for name in stroke("Training", 1, 1, "T1w"))],
        {},
        "sub-r001s001 is there twice",
    ),
    "camcan without scans": (["sub-CC110033/anat/sub-CC110033_T1w.txt"], {}, "not Cam-CAN, healthy people"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_folder_is_one_sentence(root: Path, case: str) -> None:
    files, tables, sentence = WRONG[case]
    tree(root, *files, **tables)
    with pytest.raises(DatasetError, match=sentence):
        as_bids(root)
    assert not list((root.parent / "cache").rglob("participants.tsv"))
