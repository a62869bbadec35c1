"""What a hospital says of the device that it computes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import cohorts
import pytest
import torch

from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_client.hospital.site import Site, choose_device, site_for
from normfed_common.foundation.errors import DatasetError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "auto\n"])
def test_a_device_that_is_none_is_one_sentence(name: str) -> None:
    with pytest.raises(DatasetError, match=r"not known\. Use --device auto, cpu, cuda"):
        choose_device(name)


def test_a_card_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(DatasetError, match="no usable CUDA device"):
            choose_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DatasetError, match="cuda:2: this machine has 2"):
        choose_device("cuda:2")


@pytest.mark.parametrize("deleted", ["cache", "state"])
def test_a_folder_that_was_deleted_under_an_open_site_is_made_again(
    hospitals: Path, tmp_path: Path, study: StudyConfig, deleted: str
) -> None:
    config = HospitalConfig(
        site="a",
        server="f:1",
        data=hospitals,
        owns=("a",),
        device="cpu",
        minimum_people=2,
        minimum_people_per_voxel=2,
        held_out_share=0.0,
    )
    hospital = Hospital(tmp_path, config)
    hospital.people_secret.write_bytes(b"secret")
    Releases.create(hospital.record, PeopleSecret.read(hospital.people_secret))
    hospital.prepare("run")
    site = site_for(hospital.site_config("run"), study.model_dump_json())
    before = len(site.training_cohort())
    shutil.rmtree(tmp_path / deleted)
    hospital.prepare("run")
    assert len(site_for(hospital.site_config("run"), study.model_dump_json()).training_cohort()) == before


def test_a_scan_that_could_not_be_read_for_a_moment_is_read_the_next_time(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 3}})
    raw = {"name": "warm", "data": {"modalities": ["T1w"]}, "preprocessing": {"voxel_size_mm": 4}}
    study = resolve(raw | {"federation": {"minimum_cohort": 1}}, "test")
    folders = {"cache": tmp_path / "cache", "output": tmp_path / "out"}
    site = Site(SiteConfig(name="a", data=data, owns=("a",), device="cpu", **folders), study)
    scan = next(data.glob(f"{site.roles.train[0].name}/anat/*T1w.nii.gz"))
    away = scan.rename(scan.with_suffix(".away"))
    assert len(site.train) == len(site.train) == 1
    assert len(site.problems) == 1
    away.rename(scan)
    assert len(site.train) == 2
