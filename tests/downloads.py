"""Public datasets as they come, small: the real names of files and folders, with nothing in the files."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

XLS = Path(__file__).parent / "simulation" / "datasets" / "IXI.xls"  # the real columns, seven people, two rows for two
PARTITIONS = Path(__file__).parents[2] / "shared" / "data" / "public-partitions"


def touch(root: Path, places: Iterable[str]) -> Path:
    """Empty files."""
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def workbook(path: Path, rows: Sequence[Sequence[str | float | None]]) -> Path:
    """An .xlsx as Excel writes it: text in a shared table, empty cells left out, the first sheet not sheet1.xml."""
    main, office = "http://schemas.openxmlformats.org", "officeDocument/2006/relationships"
    shared = sorted({cell for row in rows for cell in row if isinstance(cell, str)})
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = [
            f'<c r="{chr(65 + column)}{number}" t="s"><v>{shared.index(cell)}</v></c>'
            if isinstance(cell, str)
            else f'<c r="{chr(65 + column)}{number}"><v>{cell}</v></c>'
            for column, cell in enumerate(row)
            if cell is not None
        ]
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    space = f'xmlns="{main}/spreadsheetml/2006/main" xmlns:r="{main}/{office}"'
    sheets = '<sheet name="20251112" sheetId="2" r:id="rId7"/><sheet name="dictionary" sheetId="1" r:id="rId1"/>'
    links = (
        '<Relationship Id="rId1" Target="worksheets/sheet1.xml"/><Relationship Id="rId7" Target="worksheets/a.xml"/>'
    )
    texts = "".join(f"<si><r><t>{escape(text[:1])}</t></r><r><t>{escape(text[1:])}</t></r></si>" for text in shared)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", f"<workbook {space}><sheets>{sheets}</sheets></workbook>")
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{main}/package">{links}</Relationships>')
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{texts}</sst>")
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData/></worksheet>")
        archive.writestr(
            "xl/worksheets/a.xml", f"<worksheet {space}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        )
    return path


def ixi(root: Path) -> Path:
    """Five people of three hospitals, one without T2, and the sheet."""
    names = (
        "IXI002-Guys-0828",
        "IXI012-HH-1211",
        "IXI013-HH-1212",
        "IXI014-HH-1236",
        "IXI328-Guys-0949",
        "IXI341-IOP-1178",
    )
    touch(root, [f"IXI-T1/{name}-T1.nii.gz" for name in names])
    touch(root, [f"IXI-T2/{name}-T2.nii.gz" for name in names[1:]])
    touch(root, ["IXI-DTI/IXI012-HH-1211-DTI-00.nii.gz", "IXI-MRA/IXI012-HH-1211-MRA.nii.gz"])
    shutil.copy(XLS, root / "IXI.xls")
    return root


def wmh(root: Path) -> Path:
    """Two training people and the five scanners of the test, as on dataverse.nl."""
    cases = ["training/Utrecht/0", "training/Singapore/50", "training/Amsterdam/GE3T/100", "test/Utrecht/1"]
    cases += ["test/Singapore/51", "test/Amsterdam/GE3T/101", "test/Amsterdam/GE1T5/150"]
    cases += ["test/Amsterdam/Philips_VU .PETMR_01./160"]
    for case in cases:
        touch(root / case, [f"{kind}/{name}.nii.gz" for kind in ("pre", "orig") for name in ("3DT1", "T1", "FLAIR")])
        touch(root / case, ["wmh.nii.gz", "orig/reg_3DT1_to_FLAIR.txt"])
    for observer in ("observer_o3", "observer_o4"):
        touch(root, [f"additional_annotations/{observer}/training/Utrecht/0/result.nii.gz"])
    return root


def cc359(root: Path) -> Path:
    """One person per vendor and field strength; the last without a mask."""
    people = ["0001_philips_15_55_M", "0061_philips_3_55_F", "0121_siemens_15_61_M", "0181_siemens_3_36_F"]
    people += ["0241_ge_15_60_F", "0301_ge_3_53_F"]
    top = root / "CC359" / "Reconstructed"
    touch(top, [f"Original/Original/CC{person}.nii.gz" for person in people])
    silver = "Silver-standard-machine-learning/Silver-standard"
    touch(top, [f"{silver}/CC{person}_ss.nii.gz" for person in people[:-1]])
    touch(top, [f"hippocampus_staple/CC{person}_hippocampus_staple.nii.gz" for person in people])
    return root


GLIOMA = ("t1", "t1ce", "t2", "flair", "seg")


def gliomas(root: Path, folders: Iterable[str], kinds: Iterable[str] = GLIOMA) -> Path:
    """A folder per person, as BraTS and FeTS have them."""
    for folder in folders:
        touch(root / folder, [f"{Path(folder).name}_{kind}.nii.gz" for kind in kinds])
    return root


def brats19(root: Path) -> Path:
    """Of four institutions."""
    names = ("HGG/BraTS19_CBICA_AAB_1", "HGG/BraTS19_TCIA01_131_1", "LGG/BraTS19_2013_0_1", "LGG/BraTS19_TMC_30014_1")
    return gliomas(root / "MICCAI_BraTS_2019_Data_Training", names).parent


def brats20(root: Path) -> Path:
    """Three people, of whom one is new in 2020."""
    top = gliomas(root / "MICCAI_BraTS2020_TrainingData", [f"BraTS20_Training_00{n}" for n in (1, 2, 3)])
    # As the segmentation of number 355 is called.
    (top / "BraTS20_Training_002/BraTS20_Training_002_seg.nii.gz").rename(
        top / "BraTS20_Training_002/W39_1998.09.19_Segm.nii"
    )
    (top / "name_mapping.csv").write_text(
        "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,BraTS_2019_subject_ID,"
        "BraTS_2020_subject_ID\n"
        "HGG,Brats17_CBICA_AAB_1,Brats18_CBICA_AAB_1,NA,BraTS19_CBICA_AAB_1,BraTS20_Training_001\n"
        "LGG,Brats17_TCIA_101_1,Brats18_TCIA10_101_1,NA,BraTS19_TCIA10_101_1,BraTS20_Training_002\n"
        "HGG,NA,NA,NA,NA,BraTS20_Training_003\n"
    )
    return root


def brats23(root: Path) -> Path:
    """Three people of two institutions, by the challenge's own table; the third is in no earlier year."""
    top = root / "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData"
    for number in (0, 2, 3):
        name = f"BraTS-GLI-{number:05d}-000"
        touch(top / name, [f"{name}-{kind}.nii.gz" for kind in ("t1n", "t1c", "t2w", "t2f", "seg")])
    site = "Site No (represents the originating institution)"
    rows: list[list[str | float | None]] = [["BraTS2023", "BraTS2021", "BraTS2019", "Cohort Name", site]]
    rows += [["BraTS-GLI-00000-000", "BraTS2021_00000", "BraTS19_CBICA_AAB_1", "UPENN-GBM", 1]]
    rows += [["BraTS-GLI-00002-000", "BraTS2021_00002", None, None, 18], ["BraTS-GLI-00003-000", None, None, None, 1]]
    workbook(root / "BraTS2023_2017_GLI_Mapping.xlsx", rows)
    return root


def fets(root: Path) -> Path:
    """Three people of two institutions, and the table of both."""
    gliomas(root, [f"FeTS2022_0000{n}" for n in (0, 2, 3)])
    (root / "partitioning_1.csv").write_text(
        "Partition_ID,Subject_ID\n1,FeTS2022_00000\n12,FeTS2022_00002\n1,FeTS2022_00003\n"
    )
    return root


def openneuro(root: Path) -> Path:
    """As ds000030 and ds003592 come without datalad get: links to files that are not there, functional scans too."""
    for number in range(1, 5):
        for place in (f"anat/sub-0{number}_T1w.nii.gz", f"func/sub-0{number}_task-rest_bold.nii.gz"):
            path = root / f"sub-0{number}" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to("../../.git/annex/objects/3f/g9/MD5E-s1--a.nii.gz/MD5E-s1--a.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    (root / "participants.tsv").write_text(
        "participant_id\tdiagnosis\tage\tgender\tScannerSerialNumber\n"
        "sub-01\tCONTROL\t30\tF\t35343.0\nsub-02\tSCHZ\t24\tM\t35343.0\n"
        "sub-03\tCONTROL\t21\tM\t35426.0\nsub-04\tADHD\tn/a\tF\t35426.0\n"
    )
    return root


def bids(root: Path) -> Path:
    """Sites under another name, and scanners."""
    touch(root, [f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in "abcd"])
    touch(root, ["derivatives/masks/sub-a/anat/sub-a_space-T1w_desc-brain_mask.nii.gz", "README", ".bidsignore"])
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    (root / "participants.tsv").write_text(
        "participant_id\tAge\tgender\tdiagnosis\tCenter\tscanner\n"
        "sub-a\t20\tM\tHC\tSt. Mary's\tPrisma\nsub-b\t30\tfemale\tHC\tSt. Mary's\tSkyra\n"
        "sub-c\tn/a\tn/a\tMDD\tWest\tSkyra\nsub-d\told\tF\tMDD\tWest\tSkyra\n"
    )
    return root
