"""A study of domain shift that is refused: it reads its data once, and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cohorts
import pytest
import yaml
from commands import normfed

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import DatasetError, RunError
from normfed_simulation import experiment, study_data

STUDY = {
    "name": "s",
    "data": {"modalities": ["T1w"]},
    "preprocessing": {"voxel_size_mm": 4},
    "model": {"name": "atlas"},
    "federation": {"minimum_cohort": 2},
    "comparisons": {"pooled": False, "baselines": []},
    "domain_shift": {"harmonizations": ["z-score", "percentiles"]},
}
REFUSED = "No site can test: people to train on/to test on are a 2/too few, b 2/too few. Too few: fewer than "


@pytest.fixture
def study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


def data(tmp_path: Path, patients: int) -> Path:
    of_site = {"control": 2, "WMH": patients}
    return cohorts.write(tmp_path / "data", {"a": of_site, "b": of_site})


def begin(study: Path, patients: int, *command: str) -> None:
    folder = study.parent
    words = (study, "--data", data(folder, patients), "--out", folder / "runs", "--workers", 0)
    normfed(*command, *words)


@pytest.mark.parametrize("command", [("simulate",), ("study", "domain-shift")], ids=" ".join)
def test_patients_below_every_sites_minimum_are_refused_before_a_scan_is_prepared(
    study_file: Path, command: tuple[str, ...]
) -> None:
    with pytest.raises(DatasetError) as caught:
        begin(study_file, 1, *command)
    assert str(caught.value) == f"{REFUSED}federation.minimum_cohort of the study, 2."
    assert not (study_file.parent / "runs").exists()
    assert not (study_file.parent / "cache" / "scans").exists()


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_what_is_refused_only_once_its_scans_are_prepared_leaves_no_folder(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, parallel: str
) -> None:
    def refusing(*_: Any) -> Any:
        raise DatasetError("No site can test: no patient's scans can be used.")

    monkeypatch.setattr(experiment, "simulate", refusing)
    monkeypatch.setattr(experiment, "prepared", refusing)
    with pytest.raises((DatasetError, RunError), match="No site can test: no patient's scans can be used") as caught:
        begin(study_file, 2, "study", "domain-shift", "--parallel", parallel)
    assert str(caught.value).count("No site can test") == 1
    assert not list((study_file.parent / "runs").iterdir())


def test_a_dataset_is_read_once_for_all_harmonizations(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(root: Path) -> Any:
        read.append(root)
        return read_dataset(root)

    monkeypatch.setattr(study_data, "read_dataset", counted)
    with pytest.raises(DatasetError, match="No site can test"):
        begin(study_file, 1, "study", "domain-shift")
    assert read == [study_file.parent / "data"]
