"""A dataset whose people are divided anew: what is read of it, what stays as it was, and what a run finds again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cohorts
import nibabel
import numpy as np
import pytest
import yaml
from commands import normfed, run_folder

from normfed_client.hospital.simulated import read_sites
from normfed_client.imaging.bids import Dataset, read_dataset
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import begin
from normfed_simulation import experiment, study_data
from normfed_simulation import run_folder as runs
from normfed_simulation.datasets import place_of
from normfed_simulation.splits import dividing

IID = {"by": "iid", "sites": 3}


def study_of(split: Any, **data: Any) -> StudyConfig:
    section = {"modalities": ["T1w"], "split": split, **data}
    return resolve({"name": "divided", "data": section, "model": {"name": "intensity"}}, "test")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve people of two sites, each with two visits; two with one visit and a nearly named scan; one without."""
    root = tmp_path / "source"
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 9), np.float32), np.eye(4))
    rows = ["participant_id\tsite\tage\tsex\tgroup\tscanner\thandedness"]
    for number in range(14):
        name = f"sub-{number:02d}"
        scanner = "GE" if number % 3 else "Siemens 3T"
        rows.append(f"{name}\t{'ab'[number % 2]}\t{20 + number}\tF\tcontrol\t{scanner}\tleft")
        for session in ("1", "2") if number < 12 else ("1",):
            anat = root / name / f"ses-{session}" / "anat"
            anat.mkdir(parents=True)
            image.to_filename(anat / f"{name}_ses-{session}_T1w.nii.gz")
        if number >= 12:
            (anat / f"{name}_ses-1_flair.nii.gz").touch()
    rows.append("sub-14\ta\t50\tM\tcontrol\tn/a\tright")
    masks = root / "derivatives" / "masks" / "sub-00" / "ses-1" / "anat"
    masks.mkdir(parents=True)
    image.to_filename(masks / "sub-00_ses-1_space-T1w_label-MS_mask.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root


def told(dataset: Dataset) -> list[Any]:
    """What is read, but for where it lies."""
    return [(visit.participant, visit.session, sorted(visit.images), visit.near) for visit in dataset.visits]


def test_scanners_of_sessions_are_still_those_of_the_site_that_people_came_from(source: Path, tmp_path: Path) -> None:
    """Of two hospitals that both call theirs `3T`, and now share a site, two scanners."""
    for name in ("sub-00", "sub-01"):
        rows = ["session_id\tacq_time\tscanner", "ses-1\t2020-01-01\t3T", "ses-2\t2021-01-01\tn/a"]
        (source / name / f"{name}_sessions.tsv").write_text("\n".join(rows) + "\n")
    study = study_of({"by": "quantity", "sites": 2, "power": 0})
    root, plain = dividing.view(source, study, tmp_path / "cache"), read_dataset(source)
    read = read_dataset(root)
    assert told(read) == told(dividing.resited(plain, dividing.divided(plain, study)))
    scanners = {visit.name: visit.participant.scanner for visit in read.visits}
    assert [scanners[name] for name in ("sub-00_ses-1", "sub-00_ses-2", "sub-01_ses-1", "sub-01_ses-2")] == [
        "a/3T",
        "a/Siemens 3T",
        "b/3T",
        "b/GE",
    ]
    assert "2020-01-01" in (root / "sub-00" / "sub-00_sessions.tsv").read_text()
    assert "a/" not in (source / "sub-00" / "sub-00_sessions.tsv").read_text()


def test_what_is_read_of_a_view_is_the_dataset_with_other_sites(source: Path, tmp_path: Path) -> None:
    study, before = study_of(IID), sorted(source.rglob("*"))
    root = dividing.view(source, study, tmp_path / "cache")
    read, plain = read_dataset(root), read_dataset(source)
    sites = dividing.divided(plain, study)
    assert told(read) == told(dividing.resited(plain, sites))
    assert read.problems == plain.problems
    assert [len(visits) for visits in read.sites().values()] == [
        sum(sites[visit.participant.subject] == site for visit in plain.visits) for site in sorted(set(sites.values()))
    ]
    assert {path.resolve() for visit in read.visits for path in visit.images.values()} == {
        path for visit in plain.visits for path in visit.images.values()
    }
    assert [mask.path.resolve() for mask in read.visits[0].lesions] == [mask.path for mask in plain.visits[0].lesions]
    assert sorted(source.rglob("*")) == before
    assert not [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and "sub-" in path.name]


def test_people_are_divided_and_never_their_visits(source: Path) -> None:
    moved = dividing.resited(read_dataset(source), dividing.divided(read_dataset(source), study_of(IID)))
    for subject in {visit.participant.subject for visit in moved.visits}:
        assert len({v.participant.site for v in moved.visits if v.participant.subject == subject}) == 1
    people = [len({v.participant.subject for v in visits}) for visits in moved.sites().values()]
    assert people == [5, 5, 4]


def test_a_scanner_is_still_that_of_the_hospital_where_it_stands(source: Path, tmp_path: Path) -> None:
    """Scans of two hospitals that come to one site are not of one scanner, even where both call it the same."""
    read = read_dataset(dividing.view(source, study_of("scanner"), tmp_path))
    assert list(read.sites()) == ["GE", "Siemens-3T"]
    assert {v.participant.scanner for v in read.sites()["GE"]} == {"a/GE", "b/GE"}
    table = source / "participants.tsv"
    table.write_text(table.read_text().replace("scanner", "machine"))
    read = read_dataset(dividing.view(source, study_of(IID), tmp_path))
    assert {v.participant.scanner for v in read.visits} == {"a", "b"}


def test_columns_that_we_do_not_know_are_kept(source: Path, tmp_path: Path) -> None:
    lines = (dividing.view(source, study_of(IID), tmp_path) / "participants.tsv").read_text().splitlines()
    assert lines[0].endswith("\tscanner\thandedness")
    assert len(lines) == 16
    assert all(line.endswith("\tleft") for line in lines[1:-1])


def test_whoever_the_study_excludes_changes_nobodys_place_but_by_being_absent(source: Path) -> None:
    dataset = read_dataset(source)
    sites = dividing.divided(dataset, study_of(IID, exclude={"sub-03": "moved", "sub-05": "moved"}))
    assert sites["sub-03"] == sites["sub-05"] == "site-1"
    counts = [
        sum(sites[f"sub-{n:02d}"] == site for n in range(14) if n not in (3, 5)) for site in sorted(set(sites.values()))
    ]
    assert counts == [4, 4, 4]


def test_the_same_division_is_the_same_folder_and_another_is_another(source: Path, tmp_path: Path) -> None:
    first = dividing.view(source, study_of(IID), tmp_path)
    assert dividing.view(source, study_of(IID), tmp_path) == first
    other = study_of(IID, normal="lesion-free-tissue")
    assert dividing.view(source, other, tmp_path) == first
    reseeded = {**IID, "seed": 7}
    assert dividing.view(source, study_of(reseeded), tmp_path) != first
    with_seed = study_of(reseeded).model_copy(update={"seed": 3})
    assert dividing.view(source, with_seed, tmp_path) == dividing.view(source, study_of(reseeded), tmp_path)


def test_a_view_is_not_divided_twice_by_its_own_split_and_is_by_another(source: Path, tmp_path: Path) -> None:
    first = dividing.view(source, study_of(IID), tmp_path)
    assert dividing.view(first, study_of(IID), tmp_path) == first
    again = dividing.view(first, study_of({"by": "iid", "sites": 2}), tmp_path)
    assert list(read_dataset(again).sites()) == ["site-1", "site-2"]
    assert dividing.source_of(again) == first


def test_what_was_broken_off_is_made_again(source: Path, tmp_path: Path) -> None:
    first = dividing.view(source, study_of(IID), tmp_path)
    whole = read_dataset(first)
    (first / ".split.json").unlink()
    os.unlink(first / "sub-03")
    assert read_dataset(dividing.view(source, study_of(IID), tmp_path)) == whole


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"split": {}, "seed": 0}'])
def test_a_view_that_does_not_say_any_more_whose_it_is_is_not_divided_once_more(
    source: Path, tmp_path: Path, text: str
) -> None:
    root = dividing.view(source, study_of(IID), tmp_path / "cache")
    (root / dividing.NOTE).write_text(text)
    for read in (lambda: dividing.view(root, study_of(IID), tmp_path / "cache"), lambda: dividing.source_of(root)):
        with pytest.raises(DatasetError, match=r"\.split\.json: damaged\. In a folder of links that a split made"):
            read()


def test_a_study_without_a_split_reads_the_dataset_itself(source: Path, tmp_path: Path) -> None:
    study = study_of(None)
    assert dividing.view(source, study, tmp_path) == source
    assert dividing.foreseen(read_dataset(source), study) == read_dataset(source)
    assert "split" not in study.model_dump(mode="json")["data"]
    assert list(tmp_path.iterdir()) == [source]


def test_a_run_that_goes_on_has_everybody_where_they_were(source: Path, tmp_path: Path) -> None:
    study = study_of(IID)
    root = study_data.ready(study, source, tmp_path / "cache", 0, None)  # type: ignore[arg-type]
    run = begin(study, tmp_path / "runs")
    runs.write_site_configs(run, root, ["site-1", "site-2", "site-3"], tmp_path / "cache", "cpu", {})
    with (source / "participants.tsv").open("a") as table:
        table.write("sub-15\tb\t33\tF\tcontrol\tGE\tleft\n")
    assert study_data.data_of(run) == root
    assert study_data.ready(study, study_data.data_of(run), tmp_path / "cache", 0, None) == root  # type: ignore[arg-type]


def test_the_split_of_a_phantom_is_found_by_the_phantom(study: StudyConfig, source: Path, tmp_path: Path) -> None:
    divided = study.model_copy(update={"data": study.data.model_copy(update={"split": IID})})
    found = place_of(study)
    assert found is not None
    made = tmp_path / found[1]
    made.parent.mkdir(parents=True)
    source.rename(made)
    run = begin(divided, tmp_path / "runs")
    root = study_data.ready(divided, made, tmp_path, 0, None)  # type: ignore[arg-type]
    runs.write_site_configs(run, root, ["site-1"], tmp_path, "cpu", {})
    assert study_data.data_of(run) is None


def test_a_phantom_that_is_not_made_yet_is_checked_unless_the_split_opens_its_masks(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path))

    def with_split(**split: Any) -> StudyConfig:
        return study.model_copy(update={"data": study.data.model_copy(update={"split": split})})

    experiment.check(with_split(by="iid", sites=2), None)
    with pytest.raises(StudyError, match=r"data.split iid, .*: 900 sites of at least one person each"):
        experiment.check(with_split(by="iid", sites=900), None)
    with pytest.raises(StudyError, match="nobody has a scanner"):
        experiment.check(with_split(by="scanner"), None)
    experiment.check(with_split(by="dirichlet", over="lesion-load", alpha=1, sites=900), None)
    assert not list(tmp_path.iterdir())


def test_a_simulation_runs_at_the_sites_of_its_split_and_a_scan_is_scored_where_it_lay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    data = cohorts.write(tmp_path / "data", {"a": {"control": 4, "WMH": 1}, "b": {"control": 3, "WMH": 1}})
    raw = study_of({"by": "iid", "sites": 3}).model_dump(mode="json")
    raw["federation"]["minimum_cohort"], raw["comparisons"] = 1, {"local": False, "pooled": False, "baselines": []}
    raw["preprocessing"] = {"voxel_size_mm": 4}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
    result = normfed(
        "simulate", tmp_path / "study.yaml", "--data", data, "--out", tmp_path / "runs", "-q", "--workers", 0
    )
    assert result.exit_code == 0, result.output
    run = run_folder(tmp_path / "runs")
    assert [site.name for site in read_sites(run / "sites.json")] == ["site-1", "site-2", "site-3"]
    assert "divides the dataset&#39;s people anew, by: iid, sites: 3." in (run / "report.html").read_text()
    (scan,) = (data / "sub-aWMH00" / "anat").glob("*_T1w.nii.gz")
    assert normfed("score", run, scan, "--out", tmp_path / "maps", "--device", "cpu").exit_code == 0
    (scored,), (evaluated,) = (
        [nibabel.load(path).get_fdata() for path in folder.rglob("sub-aWMH00*_desc-anomaly_map.nii.gz")]
        for folder in (tmp_path / "maps", run / "maps")
    )
    np.testing.assert_array_equal(scored, evaluated)
