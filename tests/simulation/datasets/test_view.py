"""A folder as it came is seen as BIDS by links: nothing copied, nothing touched, made anew when it changed."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import downloads
import pytest
from commands import normfed

from normfed_client.imaging.bids import Visit, read_dataset
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_simulation.datasets import view
from normfed_simulation.datasets.recognition import as_bids, together_as_bids


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def study_of(dataset: object) -> StudyConfig:
    data = {"modalities": ["T1w"], "dataset": dataset}
    return resolve({"name": "s", "data": data, "model": {"name": "intensity"}}, "test")


def state(root: Path) -> dict[str, Any]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def test_a_view_is_links_and_tables_and_leaves_the_source_alone(tmp_path: Path, cache: Path) -> None:
    source = downloads.ixi(tmp_path / "ixi")
    before = state(source)
    root = as_bids(source)
    assert root.is_relative_to(cache / "datasets" / "ixi")
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.name for path in files} == {"participants.tsv", "dataset_description.json"}
    links = [path for path in root.rglob("*") if path.is_symlink()]
    assert len(links) == 11
    assert all(path.resolve().is_relative_to(source) for path in links)
    assert state(source) == before


def test_what_is_read_of_a_view_is_who_the_dataset_holds(tmp_path: Path) -> None:
    root = as_bids(downloads.ixi(tmp_path / "ixi"))
    dataset = read_dataset(root)
    assert dataset.problems == ()
    found = {v.participant.subject: (v.participant, set(v.images)) for v in dataset.visits}
    person, images = found["sub-IXI012"]
    assert (person.site, person.scanner, person.age, person.sex, person.group) == (
        *("HH", "Philips Intera 3T", 38.78, "M", "control"),
    )
    assert images == {"T1w", "T2w"}
    assert found["sub-IXI341"][0].age is None


def test_the_masks_of_a_view_lie_on_the_grid_that_their_names_say(tmp_path: Path) -> None:
    (visit, *_) = read_dataset(as_bids(downloads.wmh(tmp_path / "wmh"))).visits
    assert [(m.label, m.modality, m.values) for m in visit.lesions] == [("WMH", "FLAIR", (1,))]
    assert [(m.label, m.modality, m.values) for m in visit.ignored] == [("ignore", "FLAIR", (2,))]
    gliomas = read_dataset(as_bids(downloads.fets(tmp_path / "fets")))
    assert [(m.label, m.modality, m.values) for m in gliomas.visits[0].lesions] == [("tumour", "T1w", (1, 2, 3, 4))]
    assert set(gliomas.visits[0].images) == {"T1w", "ce-gadolinium_T1w", "T2w", "FLAIR"}
    brains = [visit.brain for visit in read_dataset(as_bids(downloads.cc359(tmp_path / "cc359"))).visits]
    assert [brain is not None for brain in brains] == [True] * 5 + [False]


def test_a_view_is_made_once_and_anew_when_files_or_tables_of_the_source_change(tmp_path: Path) -> None:
    source = downloads.ixi(tmp_path / "ixi")
    first = as_bids(source)
    made = first.stat().st_mtime_ns
    assert as_bids(source) == first
    assert first.stat().st_mtime_ns == made
    downloads.touch(source, ["IXI-T1/IXI015-HH-1258-T1.nii.gz"])
    second = as_bids(source)
    assert second != first
    assert len(read_dataset(second).visits) == 7
    (source / "IXI.xls").unlink()
    third = as_bids(source)
    assert third not in (first, second)
    assert all(visit.participant.age is None for visit in read_dataset(third).visits)


def test_a_view_whose_source_has_moved_is_one_sentence(tmp_path: Path) -> None:
    source = downloads.ixi(tmp_path / "ixi")
    root = as_bids(source)
    assert as_bids(root) == root
    source.rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError) as caught:
        as_bids(root)
    assert str(caught.value) == (
        f"{source}: no such folder, though {root} is a view of it by links. Put it back, or say where it is now with "
        "--data DIR."
    )
    moved = as_bids(tmp_path / "elsewhere")
    assert moved != root


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "the disk is full"), (errno.EPERM, "links cannot be made there")]
)
def test_a_view_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str
) -> None:
    source, made = downloads.ixi(tmp_path / "ixi"), []
    link = Path.symlink_to

    def failing(self: Path, target: str) -> None:
        made.append(self)
        if len(made) == 4:
            raise OSError(number, os.strerror(number))
        link(self, target)

    monkeypatch.setattr(Path, "symlink_to", failing)
    with pytest.raises(DatasetError, match=sentence):
        as_bids(source)
    assert not list((cache / "datasets" / "ixi").iterdir())
    monkeypatch.undo()
    os.environ["NORMFED_CACHE"] = str(cache)
    assert len(read_dataset(as_bids(source)).visits) == 6


def test_two_processes_that_make_the_same_view_leave_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = downloads.ixi(tmp_path / "ixi")
    root = as_bids(source)
    monkeypatch.setattr("normfed_simulation.datasets.base.Dataset.written", lambda self, root: False)
    assert as_bids(source) == root
    assert [path.name for path in root.parent.iterdir()] == [root.name]


def test_what_a_killed_process_left_of_a_view_is_thrown_away_and_what_another_makes_is_not(
    tmp_path: Path, cache: Path
) -> None:
    folder = cache / "datasets" / "ixi"
    for name, age_s in ((".making-left", 1e6), (".making-now", 60.0)):
        (folder / name / "sub-a").mkdir(parents=True)
        os.utime(folder / name, (time.time() - age_s,) * 2)
    root = as_bids(downloads.ixi(tmp_path / "ixi"))
    assert {path.name for path in folder.iterdir()} == {".making-now", root.name}


def test_a_bids_dataset_with_sites_is_read_where_it_lies(tmp_path: Path, cache: Path) -> None:
    data = downloads.touch(tmp_path / "data", ["sub-a/anat/sub-a_T1w.nii.gz"])
    (data / "participants.tsv").write_text("participant_id\tsite\nsub-a\there\n")
    assert as_bids(data) == data
    assert not cache.exists()


def test_a_study_says_which_column_tells_the_sites(tmp_path: Path) -> None:
    source = downloads.bids(tmp_path / "bids")
    root = as_bids(source, study_of({"name": "bids", "column": "scanner"}))
    assert set(read_dataset(root).sites()) == {"Prisma", "Skyra"}
    assert set(read_dataset(as_bids(source)).sites()) == {"St.-Mary-s", "West"}


def test_patients_of_one_dataset_and_healthy_people_of_another_are_one_federation(tmp_path: Path) -> None:
    sources = [downloads.ixi(tmp_path / "ixi"), downloads.wmh(tmp_path / "wmh")]
    root = together_as_bids(sources, study_of({"name": "wmh", "part": "training"}))
    assert root is not None
    assert {site: len(visits) for site, visits in read_dataset(root).sites().items()} == {
        "Amsterdam": 1,
        "Guys": 2,
        "HH": 3,
        "IOP": 1,
        "Singapore": 1,
        "Utrecht": 1,
    }
    assert view.sources_of(root) == tuple(sources)
    with pytest.raises(DatasetError, match=r"has a person sub-IXI002, as another of the datasets has\."):
        together_as_bids([sources[0], downloads.ixi(tmp_path / "again")], study_of(None))
    assert together_as_bids([], study_of(None)) is None
    odd = tmp_path / os.fsdecode(b"d\xff")
    with pytest.raises(DatasetError, match=r"d\udcff: its path is not UTF-8"):  # once sites.json could not be written
        together_as_bids([odd], study_of(None))


def test_a_folder_that_nothing_knows_is_one_sentence(tmp_path: Path) -> None:
    downloads.touch(tmp_path / "x", ["holiday/beach.jpg", "notes.txt"])
    with pytest.raises(DatasetError) as caught:
        as_bids(tmp_path / "x")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'x' / 'participants.tsv'}: missing, and the folder is not laid out as any")
    assert "found holiday/, notes.txt. Give the folder that `normfed datasets NAME` describes" in said


def test_a_folder_that_may_be_two_datasets_is_one_sentence(tmp_path: Path) -> None:
    downloads.fets(downloads.ixi(tmp_path / "x"))
    with pytest.raises(DatasetError, match=r"may be any of fets, ixi\. Say which in the study, such as data.dataset"):
        as_bids(tmp_path / "x")
    assert set(read_dataset(as_bids(tmp_path / "x", study_of("fets"))).sites()) == {"institution-01", "institution-12"}


def test_a_dataset_that_the_study_names_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("{name: s, data: {modalities: [T1w], dataset: ixi}, model: intensity}")
    with pytest.raises(DatasetError, match=r"reads IXI, .* as it came: add --data DIR, the folder where it lies\."):
        normfed("simulate", tmp_path / "s.yaml", "--out", tmp_path / "runs")
    with pytest.raises(DatasetError, match=r"nowhere: no such folder\."):
        normfed("simulate", tmp_path / "s.yaml", "--data", tmp_path / "nowhere", "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_healthy_people_alone_are_refused_before_a_scan_is_prepared(tmp_path: Path) -> None:
    source = downloads.ixi(tmp_path / "ixi")
    (tmp_path / "s.yaml").write_text("{name: s, data: {modalities: [T1w]}, model: intensity}")
    with pytest.raises(
        DatasetError, match=r"nobody of 6 people has a lesion mask .* by a second --data DIR; name groups"
    ):
        normfed("simulate", tmp_path / "s.yaml", "--data", source, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_command_lists_tells_and_checks(tmp_path: Path) -> None:
    listed = normfed("datasets").output
    assert "IXI, healthy people of three London hospitals (T1w, T2w)" in listed
    assert "Made on this machine: phantom." in listed
    told = " ".join(normfed("datasets", "wmh").output.split())
    assert "doi:10.34894/AECRSD" in told
    assert "training/Utrecht/0/pre/{FLAIR,T1}.nii.gz" in told
    assert "part the 60 people of training, the 110 of test, or all" in told
    assert "Synthetic hospitals" in normfed("datasets", "phantom").output
    for words in (("--data", downloads.ixi(tmp_path / "a")), ("ixi", "--data", tmp_path / "a")):
        checked = normfed("datasets", *words).output
        assert "6 people" in checked
        assert "Philips Intera 3T 3" in checked
        assert "IXI.xls: two ages for 328: both are left out" in checked
        assert max(map(len, checked.split("\n")[2:])) <= 80
    with pytest.raises(StudyError, match="phantom is made on this machine, so there is no folder to check"):
        normfed("datasets", "phantom", "--data", tmp_path)


def test_inspect_takes_the_folder_as_it_came(tmp_path: Path) -> None:
    shown = normfed("inspect", downloads.wmh(tmp_path / "wmh")).output
    assert "8 visits" in shown
    assert "WMH 4" in shown


@pytest.mark.parametrize("made", [downloads.bids, downloads.ixi], ids=["bids", "ixi"])
def test_a_cache_that_lies_in_the_source_is_no_part_of_it(
    tmp_path: Path, made: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = made(tmp_path / "source")
    monkeypatch.setenv("NORMFED_CACHE", str(source / "cache"))
    first = as_bids(source)
    assert first.is_relative_to(source / "cache")
    assert as_bids(source) == first
    assert not any("cache" in path.relative_to(first).parts for path in first.rglob("*"))


def test_a_table_with_an_endless_cell_is_one_sentence(tmp_path: Path) -> None:
    source = downloads.bids(tmp_path / "source")
    with open(source / "participants.tsv", "a", encoding="utf-8") as file:
        file.write("sub-e\t" + 200_000 * "x" + "\n")
    with pytest.raises(DatasetError, match=r"participants.tsv: cannot be read as UTF-8 text \(field larger than"):
        as_bids(source)


@pytest.mark.real
@pytest.mark.xdist_group("real")
def test_a_view_of_the_real_brains_holds_what_they_hold(real_brains: Path) -> None:
    study = study_of({"name": "bids", "column": "site"})
    seen, there = read_dataset(as_bids(real_brains, study)), read_dataset(real_brains)

    def said(root: Path, visit: Visit) -> dict[str, Any]:
        files = {**visit.images, **{f"{mask.label} on {mask.modality}": mask.path for mask in visit.masks}}
        person = visit.participant
        return {
            "name": (visit.name, person.site, person.age, person.sex, person.group),
            **{kind: path.relative_to(root) for kind, path in files.items()},
        }

    assert [said(seen.root, visit) for visit in seen.visits] == [said(there.root, visit) for visit in there.visits]
    assert {(p.what, p.why) for p in seen.problems} == {(p.what, p.why) for p in there.problems}
