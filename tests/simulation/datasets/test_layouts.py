"""Each public dataset is known by its own names, and becomes the sites that it has."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import downloads
import pytest

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import DatasetError
from normfed_simulation.datasets.catalogue import DATASETS, downloaded
from normfed_simulation.datasets.contents import Contents
from normfed_simulation.datasets.recognition import as_bids, recognised

TREES: dict[str, tuple[str, Callable[[Path], Path], dict[str, int]]] = {
    "ixi": ("ixi", downloads.ixi, {"Guys": 2, "HH": 3, "IOP": 1}),
    "wmh": ("wmh", downloads.wmh, {"Amsterdam": 4, "Singapore": 2, "Utrecht": 2}),
    "cc359": (
        "cc359",
        downloads.cc359,
        {"GE-1.5T": 1, "GE-3T": 1, "Philips-1.5T": 1, "Philips-3T": 1, "Siemens-1.5T": 1, "Siemens-3T": 1},
    ),
    "brats19": ("brats", downloads.brats19, {"2013": 1, "CBICA": 1, "TCIA01": 1, "TMC": 1}),
    "brats20": ("brats", downloads.brats20, {"CBICA": 1, "TCIA10": 1}),
    "brats23": ("brats", downloads.brats23, {"institution-01": 2, "institution-18": 1}),
    "openneuro": ("bids", downloads.openneuro, {"35343": 2, "35426": 2}),
    "fets": ("fets", downloads.fets, {"institution-01": 2, "institution-12": 1}),
    "bids": ("bids", downloads.bids, {"St.-Mary-s": 2, "West": 2}),
}


def read(name: str, root: Path, **values: Any) -> Contents:
    kind = downloaded()[name]
    return kind(kind.Config(**values), 0, root).contents


def images(found: Contents, subject: str) -> dict[str, str]:
    """Name in the BIDS dataset to name in the source."""
    return {Path(place).name: path.name for place, path in found.links.items() if place.startswith(f"{subject}/")}


@pytest.mark.parametrize("tree", TREES)
def test_a_folder_as_it_came_is_recognised_by_one_dataset_and_becomes_its_sites(tree: str, tmp_path: Path) -> None:
    name, make, sites = TREES[tree]
    found = recognised(make(tmp_path / "data"))
    assert found is not None
    assert found[0] == name
    assert found[1].contents.sites() == sites


@pytest.mark.parametrize("name", downloaded())
def test_every_dataset_says_what_it_is_and_fails_on_another_folder_in_one_sentence(name: str, tmp_path: Path) -> None:
    kind = downloaded()[name]
    for said in (kind.title, kind.licence, kind.citation(), kind.access, kind.layout, *kind.modalities):
        assert said.strip()
    downloads.touch(tmp_path, ["holiday/beach.jpg", "notes.txt"])
    assert not kind.recognises(tmp_path)
    with pytest.raises(DatasetError) as caught:
        read(name, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_ixi_has_ages_and_sexes_of_the_sheet_but_where_two_rows_differ(tmp_path: Path) -> None:
    found = read("ixi", downloads.ixi(tmp_path))
    people = {person.subject: (person.age, person.sex, person.scanner) for person in found.people.values()}
    assert people["sub-IXI002"] == (35.8, "F", "Philips Intera 1.5T")
    assert people["sub-IXI012"] == (38.78, "M", "Philips Intera 3T")
    assert people["sub-IXI014"] == (34.24, "F", "Philips Intera 3T")  # its second row holds zeros
    assert people["sub-IXI328"] == (None, None, "Philips Intera 1.5T")
    assert people["sub-IXI341"] == (None, "F", "GE 1.5T")
    assert images(found, "sub-IXI012") == {
        "sub-IXI012_T1w.nii.gz": "IXI012-HH-1211-T1.nii.gz",
        "sub-IXI012_T2w.nii.gz": "IXI012-HH-1211-T2.nii.gz",
    }
    assert sorted(problem.why for problem in found.problems) == [
        "two ages for 328: both are left out",
        "two sexes for 328: both are left out",
    ]


def test_an_exported_sheet_serves_as_the_real_one(tmp_path: Path) -> None:
    root = downloads.ixi(tmp_path)
    before = read("ixi", root).people
    import xlrd

    sheet = xlrd.open_workbook(root / "IXI.xls").sheet_by_index(0)
    (root / "IXI.xls").unlink()
    with open(root / "IXI.csv", "w", newline="") as file:
        csv.writer(file).writerows(sheet.row_values(row) for row in range(sheet.nrows))
    assert {name: person.sex for name, person in read("ixi", root).people.items()} == {
        name: person.sex for name, person in before.items()
    }


def test_wmh_has_a_scanner_per_folder_and_other_pathology_is_ignored(tmp_path: Path) -> None:
    root = downloads.wmh(tmp_path)
    found = read("wmh", root)
    assert Counter(person.scanner for person in found.people.values()) == {
        "GE Signa HDxt 1.5T": 1,
        "GE Signa HDxt 3T": 2,
        "Philips Achieva 3T": 2,
        "Philips Ingenuity PET-MR 3T": 1,
        "Siemens TrioTim 3T": 2,
    }
    masks = {
        place: path for place, path in found.links.items() if place.startswith("derivatives") and "Utrecht0" in place
    }
    assert masks == {
        "derivatives/masks/sub-Utrecht0/anat/sub-Utrecht0_space-FLAIR_desc-lesions_dseg.nii.gz": root
        / "training/Utrecht/0/wmh.nii.gz"
    }
    (table,) = {text for place, text in found.texts.items() if "Utrecht0" in place}
    assert table == "index\tname\n1\tWMH\n2\tignore\n"
    (flair,) = (path for place, path in found.links.items() if place.endswith("sub-Utrecht0_FLAIR.nii.gz"))
    assert flair == root / "training/Utrecht/0/pre/FLAIR.nii.gz"
    assert len(read("wmh", root, part="training").people) == 3
    assert all(path.parent.name != "pre" for path in read("wmh", root, images="orig").links.values())


def test_wmh_as_the_challenges_server_had_it(tmp_path: Path) -> None:
    for case in ("GE3T/100", "Utrecht/0"):
        downloads.touch(tmp_path / case, ["pre/FLAIR.nii.gz", "pre/T1.nii.gz", "wmh.nii.gz"])
    found = read("wmh", tmp_path)
    assert {person.site: person.scanner for person in found.people.values()} == {
        "Amsterdam": "GE Signa HDxt 3T",
        "Utrecht": "Philips Achieva 3T",
    }


def test_cc359_has_the_silver_standard_as_the_brain(tmp_path: Path) -> None:
    found = read("cc359", downloads.cc359(tmp_path))
    brains = {place: path.name for place, path in found.links.items() if place.startswith("derivatives")}
    place = "derivatives/masks/sub-CC0001/anat/sub-CC0001_space-T1w_desc-brain_mask.nii.gz"
    assert brains[place] == "CC0001_philips_15_55_M_ss.nii.gz"
    assert len(brains) == 5
    person = found.people["sub-CC0061"]
    assert (person.age, person.sex, person.scanner, person.group) == (55, "F", "Philips 3T", "control")
    assert [problem.what for problem in found.problems] == ["sub-CC0301"]


def test_gliomas_have_four_images_on_the_grid_of_one_segmentation(tmp_path: Path) -> None:
    found = read("brats", downloads.brats19(tmp_path))
    assert images(found, "sub-BraTS19CBICAAAB1") == {
        f"sub-BraTS19CBICAAAB1_{kind}.nii.gz": f"BraTS19_CBICA_AAB_1_{name}.nii.gz"
        for name, kind in (("t1", "T1w"), ("t1ce", "ce-gadolinium_T1w"), ("t2", "T2w"), ("flair", "FLAIR"))
    }
    assert sum("desc-lesions_dseg.nii.gz" in place for place in found.links) == 4


def test_brats_2020_people_without_an_earlier_name_are_left_out_and_said(tmp_path: Path) -> None:
    found = read("brats", downloads.brats20(tmp_path))
    (problem,) = found.problems
    assert any(path.name == "W39_1998.09.19_Segm.nii" for path in found.links.values())  # one was never renamed
    assert problem.what == "sub-BraTS20Training003"
    assert problem.why == "is of no institution that a name or a table tells: left out"


def test_brats_2021_takes_the_institutions_of_fets_by_number(tmp_path: Path) -> None:
    root = downloads.fets(tmp_path / "fets")
    gliomas = downloads.gliomas(tmp_path / "brats", [f"BraTS2021_0000{n}" for n in (0, 2, 3)])
    (root / "partitioning_1.csv").rename(gliomas / "partitioning_1.csv")
    assert read("brats", gliomas).sites() == {"institution-01": 2, "institution-12": 1}


def test_brats_2023_takes_the_institutions_of_fets_where_its_own_table_is_not(tmp_path: Path) -> None:
    root = downloads.fets(tmp_path / "fets")
    gliomas = downloads.brats23(tmp_path / "brats")
    (gliomas / "BraTS2023_2017_GLI_Mapping.xlsx").unlink()
    (root / "partitioning_1.csv").rename(gliomas / "partitioning_1.csv")
    found = read("brats", gliomas)
    assert found.sites() == {"institution-01": 2, "institution-12": 1}
    assert images(found, "sub-BraTSGLI00002000") == {
        f"sub-BraTSGLI00002000_{kind}.nii.gz": f"BraTS-GLI-00002-000-{name}.nii.gz"
        for name, kind in (("t1n", "T1w"), ("t1c", "ce-gadolinium_T1w"), ("t2w", "T2w"), ("t2f", "FLAIR"))
    }


def test_brats_2021_takes_its_own_table_of_institutions_as_well(tmp_path: Path) -> None:
    gliomas = downloads.gliomas(tmp_path / "brats", [f"BraTS2021_0000{n}" for n in (0, 2)])
    site = "Site No (represents the originating institution)"
    text = f"BraTS2021;{site}\nBraTS2021_00000;1\nBraTS2021_00002;\n"  # saved with semicolons; one is not told
    (tmp_path / "brats" / "BraTS21-17_Mapping.csv").write_text(text)
    kind = downloaded()["brats"]
    found = kind(kind.Config(), 0, gliomas).found
    assert found.sites() == {"institution-01": 1}
    assert [problem.what for problem in found.problems] == ["sub-BraTS202100002"]


@pytest.mark.skipif(not downloads.PARTITIONS.exists(), reason="the real partition files are not part of the project")
@pytest.mark.parametrize(("partitioning", "institutions"), [(1, 23), (2, 33)])
def test_the_real_partition_files_divide_all_people_of_fets(
    tmp_path: Path, partitioning: int, institutions: int
) -> None:
    """23 and 33 institutions are the published numbers; the second table only divides institutions of the first."""
    tables = {}
    for number in (1, 2):
        text = (downloads.PARTITIONS / f"fets2022_partitioning_{number}.csv").read_text()
        (tmp_path / f"partitioning_{number}.csv").write_text(text)
        tables[number] = dict(reversed(line.split(",")) for line in text.split()[1:])
    downloads.gliomas(tmp_path, tables[1], ["flair"])
    found = read("fets", tmp_path, partitioning=partitioning)
    assert len(found.people) == 1251
    assert len(found.sites()) == institutions
    assert sorted(found.sites().values()) == sorted(Counter(tables[partitioning].values()).values())
    whole = defaultdict(set)
    for person, part in tables[2].items():
        whole[part].add(tables[1][person])
    assert all(len(institution) == 1 for institution in whole.values())


def test_any_bids_dataset_has_the_sites_of_the_column_that_is_named(tmp_path: Path) -> None:
    root = downloads.bids(tmp_path)
    found = read("bids", root, control="HC")
    people = {p.subject: (p.site, p.scanner, p.age, p.sex, p.group) for p in found.people.values()}
    assert people["sub-a"] == ("St.-Mary-s", "Prisma", 20, "M", "control")
    assert people["sub-b"] == ("St.-Mary-s", "Skyra", 30, "F", "control")
    assert people["sub-c"] == ("West", "Skyra", None, None, "MDD")
    assert [problem.what for problem in found.problems] == ["sub-d"]
    assert set(found.links) == {
        *(f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in "abcd"),
        "derivatives/masks/sub-a/anat/sub-a_space-T1w_desc-brain_mask.nii.gz",
        "README",
    }
    assert read("bids", root, column="scanner").sites() == {"Prisma": 1, "Skyra": 3}


def test_links_to_files_that_were_not_fetched_are_said_and_control_is_known_by_its_usual_words(tmp_path: Path) -> None:
    found = read("bids", downloads.openneuro(tmp_path))
    assert [(p.group, p.age, p.scanner) for p in found.people.values()] == [
        ("control", 30, "35343"),
        ("SCHZ", 24, "35343"),
        ("control", 21, "35426"),
        ("ADHD", None, "35426"),
    ]
    assert set(found.links) == {f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in range(1, 5)}
    assert [problem.why for problem in found.problems] == [
        "4 scans are links to files that are not there: get them (datalad get, git annex get)"
    ]
    with pytest.raises(DatasetError, match=r"all scans are links to files that are not there, such as sub-01/anat"):
        read_dataset(_with_site(tmp_path))


def _with_site(root: Path) -> Path:
    return _edited(root, "participants.tsv", "ScannerSerialNumber", "site")


def test_a_dataset_of_healthy_people_needs_no_column_of_groups(tmp_path: Path) -> None:
    root = _edited(downloads.openneuro(tmp_path), "participants.tsv", "diagnosis", "education")
    found = read("bids", root)
    assert {person.group for person in found.people.values()} == {""}
    assert "no column of groups (group, diagnosis, dx, dx_group), so nobody counts" in found.problems[-1].why
    found = read("bids", root, everybody_healthy=True)
    assert {person.group for person in found.people.values()} == {"control"}
    assert len(found.problems) == 1


def test_ages_in_months_are_years_in_the_view_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "source"
    table = "participant_id\tage\tcenter\nsub-01\t360\tA\nsub-02\t36\tB\n"
    downloads.touch(root, [f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2)])
    (root / "participants.tsv").write_text(table)
    (root / "participants.json").write_text('{"age": {"Units": "months"}}')
    assert [visit.participant.age for visit in read_dataset(as_bids(root)).visits] == [30, 3]


def test_rows_of_sessions_are_one_person_of_one_site(tmp_path: Path) -> None:
    """As ds003416 has them."""
    table = "participant_id\tsession_id\tage\tsite\nsub-01\tses-a\t25\tA\nsub-01\tses-b\t26\t{}\nsub-02\tses-a\t3\tB\n"
    (tmp_path / "participants.tsv").write_text(table.format("A"))
    assert {p.subject: (p.site, p.age) for p in read("bids", tmp_path).people.values()} == {
        "sub-01": ("A", 25),
        "sub-02": ("B", 3),
    }
    (tmp_path / "participants.tsv").write_text(table.format("B"))
    with pytest.raises(DatasetError, match="sub-01 has sessions at A and at B, and a person is of one site"):
        read("bids", tmp_path)


def _without(root: Path, name: str) -> Path:
    (root / name).unlink()
    return root


def _edited(root: Path, name: str, old: str, new: str) -> Path:
    path = root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return root


def _without_years(root: Path) -> Path:
    site = "Site No (represents the originating institution)"
    downloads.workbook(root / "BraTS2023_2017_GLI_Mapping.xlsx", [["BraTS2019", site], ["BraTS19_CBICA_AAB_1", 1]])
    return root


WRONG: dict[str, tuple[str, Callable[[Path], Path], dict[str, Any], str]] = {
    "layout": (
        "ixi",
        lambda r: downloads.cc359(r),
        {},
        "not IXI, healthy people of three London hospitals as it comes.",
    ),
    "no table": (
        "fets",
        lambda r: _without(downloads.fets(r), "partitioning_1.csv"),
        {},
        "partitioning_1.csv: missing.",
    ),
    "other table": ("fets", lambda r: downloads.fets(r), {"partitioning": 2}, "partitioning_2.csv: missing."),
    "no column": (
        "fets",
        lambda r: _edited(downloads.fets(r), "partitioning_1.csv", "Partition_ID", "Institution"),
        {},
        "partitioning_1.csv: has no column 'Partition_ID'; found Institution, Subject_ID.",
    ),
    "empty table": (
        "fets",
        lambda r: _edited(
            downloads.fets(r), "partitioning_1.csv", (downloads.fets(r) / "partitioning_1.csv").read_text(), ""
        ),
        {},
        "partitioning_1.csv: empty. It should have the columns Partition_ID, Subject_ID.",
    ),
    "twice in a table": (
        "fets",
        lambda r: _edited(downloads.fets(r), "partitioning_1.csv", "00003", "00002"),
        {},
        "partitioning_1.csv: Subject_ID FeTS2022_00002 is there twice. Keep one of the two rows.",
    ),
    "not in the table": (
        "fets",
        lambda r: _edited(downloads.fets(r), "partitioning_1.csv", "1,FeTS2022_00003\n", ""),
        {},
        "partitioning_1.csv: says nothing of FeTS2022_00003, who has scans in",
    ),
    "without a site": (
        "fets",
        lambda r: _edited(downloads.fets(r), "partitioning_1.csv", "12,", ","),
        {},
        "partitioning_1.csv: FeTS2022_00002 has no Partition_ID.",
    ),
    "twice": (
        "ixi",
        lambda r: downloads.touch(downloads.ixi(r), ["copy/IXI002-Guys-0828-T1.nii.gz"]),
        {},
        "IXI002 is there twice, as IXI-T1/IXI002-Guys-0828-T1.nii.gz and as copy/IXI002-Guys-0828-T1.nii.gz.",
    ),
    "one site": (
        "ixi",
        lambda r: downloads.touch(r, [f"IXI00{n}-HH-000{n}-T1.nii.gz" for n in (1, 2)]),
        {},
        "all 2 people are of one site, HH, and one site is no federation.",
    ),
    "one value": (
        "bids",
        lambda r: _edited(downloads.bids(r), "participants.tsv", "West", "St. Mary's"),
        {},
        "all 4 people are of one site, St.-Mary-s, and one site is no federation.",
    ),
    "no such column": (
        "bids",
        lambda r: downloads.bids(r),
        {"column": "ward"},
        "no column 'ward', which data.dataset names",
    ),
    "empty site": (
        "bids",
        lambda r: _edited(downloads.bids(r), "participants.tsv", "MDD\tWest\tSkyra\nsub-d", "MDD\tn/a\tSkyra\nsub-d"),
        {},
        "participants.tsv: sub-c has no Center, which tells the sites. Fill it in.",
    ),
    "row twice": (
        "bids",
        lambda r: _edited(downloads.bids(r), "participants.tsv", "sub-b", "sub-a"),
        {},
        "participants.tsv: sub-a is there twice. Keep one of the two rows.",
    ),
    "no column of sites": (
        "bids",
        lambda r: _edited(downloads.openneuro(r), "participants.tsv", "ScannerSerialNumber", "coil"),
        {},
        "participants.tsv: no column tells sites; found participant_id, diagnosis, age, gender, coil. Name one",
    ),
    "other mapping": (
        "brats",
        lambda r: _without_years(downloads.brats23(r)),
        {},
        "BraTS2023_2017_GLI_Mapping.xlsx: has no column 'BraTS2023' or 'BraTS2021'. Get the table again.",
    ),
    "no institution": (
        "brats",
        lambda r: downloads.gliomas(r, ["BraTS2021_00000"]),
        {},
        "partitioning_1.csv: missing. It tells of which institution each person is.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_folder_is_one_sentence(case: str, tmp_path: Path) -> None:
    name, make, values, sentence = WRONG[case]
    with pytest.raises(DatasetError) as caught:
        read(name, make(tmp_path), **values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sheet_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (downloads.ixi(tmp_path) / "IXI.xls").write_bytes(b"<html>Not found</html>")
    with pytest.raises(DatasetError, match=r"IXI\.xls: not readable as an Excel sheet .* Download it again\."):
        read("ixi", tmp_path)


def test_the_datasets_of_ours_are_in_the_registry() -> None:
    assert {"bids", "brats", "cc359", "fets", "ixi", "wmh"} <= set(downloaded()) < set(DATASETS)
